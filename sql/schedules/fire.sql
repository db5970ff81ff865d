SELECT f.name, f.fired, f.overlapped, f.problem FROM fire_schedules($1) AS f
