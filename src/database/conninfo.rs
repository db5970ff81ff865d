//! Reads PostgreSQL connection strings, URL or `key=value`, into parameters.
//!
//! The `postgres` crate reads them too, but it refuses what libpq takes (`sslmode=verify-full`,
//! `passfile`), can't be merged with the environment, and takes an unescaped `@` or `/` of a password
//! for the start of the host, which then stands in messages. Nothing here puts a value into a message.

use std::collections::BTreeMap;

/// Parameters by libpq's names. Lists (hosts, ports) are joined by commas as libpq does.
pub type Parameters = BTreeMap<String, String>;

/// What libpq knows, so that a slip of the pen is told from what we pass over.
const KNOWN: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "connect_timeout",
    "options",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "sslcertmode",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "requirepeer",
    "require_auth",
    "channel_binding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "keepalives_retries",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "service",
    "servicefile",
    "min_protocol_version",
    "max_protocol_version",
    "scram_client_key",
    "scram_server_key",
    "sslkeylogfile",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "oauth_ca_file",
    "replication",
    "authtype",
    "tty",
];

/// Reads `text` in either form. The error says what is wrong and what to write, without a value.
pub fn parse(text: &str) -> Result<Parameters, String> {
    let rest = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let parameters = match rest {
        Some(rest) => parse_url(rest)?,
        None => parse_pairs(text)?,
    };
    match parameters.values().any(|value| value.contains('\0')) {
        true => Err("a value contains a NUL character; remove it".to_string()),
        false => Ok(parameters),
    }
}

/// Whether a connection string holds a password, or may: of one that can't be read nobody knows.
pub fn holds_password(text: &str) -> bool {
    parse(text).map_or(true, |parameters| parameters.get("password").is_some_and(|it| !it.is_empty()))
}

/// Whether libpq takes a database's name for a connection string.
pub(super) fn is_connection_string(name: &str) -> bool {
    name.contains('=') || ["postgresql://", "postgres://"].iter().any(|scheme| name.starts_with(scheme))
}

const ESCAPES: &str =
    "in a user name or password write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25";

fn parse_url(rest: &str) -> Result<Parameters, String> {
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match before_query.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (before_query, ""),
    };
    // Such a path is the tail of a password with a '/' in it; as a database name it would be shown.
    if path.contains('@') {
        return Err(format!("there is an @ after the first /; {ESCAPES}"));
    }
    let mut parameters = Parameters::new();
    let hosts = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => {
            read_credentials(credentials, &mut parameters)?;
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut parameters)?;
    if !path.is_empty() {
        parameters.insert("dbname".into(), decode(path)?);
    }
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("a parameter after the ? has no =; write key=value, and {ESCAPES}"));
        };
        add(&mut parameters, decode(key)?, decode(value)?)?;
    }
    Ok(parameters)
}

fn read_credentials(credentials: &str, parameters: &mut Parameters) -> Result<(), String> {
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    if !user.is_empty() {
        parameters.insert("user".into(), decode(user)?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        parameters.insert("password".into(), decode(password)?);
    }
    Ok(())
}

fn read_hosts(list: &str, parameters: &mut Parameters) -> Result<(), String> {
    if list.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for item in list.split(',') {
        let (host, port) = split_port(item)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("the port after a host's : is not a number; {ESCAPES}"));
        }
        hosts.push(decode(host)?);
        ports.push(port);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        parameters.insert("host".into(), hosts.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.insert("port".into(), ports.join(","));
    }
    Ok(())
}

fn split_port(item: &str) -> Result<(&str, &str), String> {
    let Some(bracketed) = item.strip_prefix('[') else {
        return Ok(item.split_once(':').unwrap_or((item, "")));
    };
    let (host, rest) = bracketed
        .split_once(']')
        .ok_or("the [ of an IPv6 address is not closed; write it as [2001:db8::1]:5432")?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err("after the ] of an IPv6 address only :port may follow".into()),
    }
}

/// Undoes percent-encoding. `+` stays: libpq does not take it for a space.
fn decode(text: &str) -> Result<String, String> {
    let broken = || format!("a % is not followed by two hexadecimal digits; {ESCAPES}");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(broken)?;
        let digit = |byte: u8| (byte as char).to_digit(16).ok_or_else(broken);
        // Two hexadecimal digits fit a byte.
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes)
        .map_err(|_| "a percent-encoded value is not UTF-8; write it in UTF-8".to_string())
}

fn parse_pairs(text: &str) -> Result<Parameters, String> {
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.contains(['=', ' ', '\''])
    {
        return Err("the URL's scheme is not PostgreSQL's; begin it with postgresql://".into());
    }
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return Err("a word has no =; write postgresql://user@host/database, or host=… dbname=… \
                        with values that hold spaces in single quotes"
                .into());
        };
        let (value, tail) = read_value(after.trim_start())?;
        add(&mut parameters, key.trim_end().to_string(), value)?;
        rest = tail.trim_start();
    }
    Ok(parameters)
}

/// One value, quoted or bare, and what follows it. A backslash makes the next character plain.
fn read_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &text[at..])),
            plain => value.push(plain),
        }
    }
    match quoted {
        true => Err("a quoted value is not closed; end it with ', and write a ' inside as \\'".into()),
        false => Ok((value, "")),
    }
}

fn add(parameters: &mut Parameters, key: String, value: String) -> Result<(), String> {
    let (key, value) = parameter(key, value)?;
    parameters.insert(key, value);
    Ok(())
}

/// One parameter, if libpq knows it. The error shows no value.
pub(super) fn parameter(key: String, value: String) -> Result<(String, String), String> {
    // JDBC's spelling, which stands in many a URL; libpq takes it too.
    let (key, value) = match (key.as_str(), value.as_str()) {
        ("ssl", "true") => ("sslmode".to_string(), "require".to_string()),
        _ => (key, value),
    };
    if !KNOWN.contains(&key.as_str()) {
        // A key is shown only when it looks like one: it may be the tail of a password.
        let plain = key.len() <= 40 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let name = if plain && !key.is_empty() { format!("{key:?}") } else { "(not shown)".into() };
        return Err(format!(
            "the parameter {name} is unknown; use PostgreSQL's connection parameters, such as host, port, \
             dbname, user, sslmode, connect_timeout"
        ));
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}")).into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn urls_of_every_shape_are_read() {
        assert_eq!(parsed("postgresql://"), []);
        assert_eq!(
            parsed(
                "postgres://u%40x:p%2F%3A%40@db.example.com:6432/my%20db?sslmode=disable&connect_timeout=3"
            ),
            pairs(&[
                ("connect_timeout", "3"),
                ("dbname", "my db"),
                ("host", "db.example.com"),
                ("password", "p/:@"),
                ("port", "6432"),
                ("sslmode", "disable"),
                ("user", "u@x"),
            ])
        );
        assert_eq!(
            parsed("postgresql://h1,h2:5433,[2001:db8::1]:5434/d?target_session_attrs=read-write"),
            pairs(&[
                ("dbname", "d"),
                ("host", "h1,h2,2001:db8::1"),
                ("port", ",5433,5434"),
                ("target_session_attrs", "read-write"),
            ])
        );
        assert_eq!(
            parsed("postgresql://%2Fvar%2Frun%2Fpostgresql/d"),
            pairs(&[("dbname", "d"), ("host", "/var/run/postgresql")])
        );
        assert_eq!(
            parsed("postgresql:///d?host=/tmp/my sockets&user=a+b"),
            pairs(&[("dbname", "d"), ("host", "/tmp/my sockets"), ("user", "a+b")])
        );
    }

    #[test]
    fn an_unescaped_at_belongs_to_the_password() {
        assert_eq!(
            parsed("postgres://u:p@ss@h/d"),
            pairs(&[("dbname", "d"), ("host", "h"), ("password", "p@ss"), ("user", "u")])
        );
    }

    #[test]
    fn pairs_are_read_with_quotes_and_escapes() {
        assert_eq!(
            parsed(r" host = h1,h2 port=5433  password='it\'s a \\ secret' user=a\ b application_name=''"),
            pairs(&[
                ("application_name", ""),
                ("host", "h1,h2"),
                ("password", r"it's a \ secret"),
                ("port", "5433"),
                ("user", "a b"),
            ])
        );
    }

    #[test]
    fn faults_are_named_and_no_value_is_shown() {
        for (text, expected) in [
            ("postgres://u:canary/tail@h/d", "@ after the first /"),
            ("postgres://u:canary#@h:1x/d", "not a number"),
            ("postgres://u:canary", "not a number"),
            ("postgres://h/d?canary", "has no ="),
            ("postgres://h/d?CANARY=1", "(not shown)"),
            ("postgres://h/d?hots=canary", "\"hots\" is unknown"),
            ("postgres://u:canary%zz@h/d", "two hexadecimal digits"),
            ("postgres://u:canary%4", "not a number"),
            ("postgres://[::1/d", "not closed"),
            ("mysql://u:canary@h/d", "postgresql://"),
            ("host=h password='canary", "not closed"),
            ("canary", "has no ="),
            ("host=h pasword=canary", "\"pasword\" is unknown"),
            ("postgres://u:canary%00@h/d", "NUL"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(expected), "{text}: {problem}");
            assert!(!problem.to_lowercase().contains("canary"), "{text}: {problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "(postgres://)?[a-z:@/?=&%'\\\\\\[\\] ,é0-9]{0,40}") {
            let _ = parse(&text);
        }
    }
}
