-- What a role needs to look at everything (list, show, logs, a dashboard) and change nothing. The schema and the role
-- are put in as quoted identifiers. What later migrations of the same owner make is granted as well.
GRANT USAGE ON SCHEMA ${schema} TO ${role};
GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${role};
ALTER DEFAULT PRIVILEGES IN SCHEMA ${schema} GRANT SELECT ON TABLES TO ${role};
