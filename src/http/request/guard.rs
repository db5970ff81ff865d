//! Who may ask: names that lead here, and pages that came from here.
//!
//! A page of another site can have the reader's browser send requests to this endpoint. With a name of its own
//! that it lets point here ("DNS rebinding") it could even read the answers: hence only names that can't be
//! another's are accepted in `Host`. `Origin` and `Sec-Fetch-Site` tell where a page came from: only pages of this endpoint
//! may ask.

use std::net::{IpAddr, SocketAddr};

use tiny_http::Method;

use super::wire::Head;
use crate::http::answer::{Problem, quoted};

/// Refuses requests that other sites' pages may have sent. `here` is the address the client connected to.
pub(in crate::http) fn check(head: &Head, here: SocketAddr) -> Result<(), Problem> {
    // Only HTTP/1.0, which no browser speaks, may come without.
    let host = head.host();
    if let Some(host) = host
        && !leads_here(host, here.ip())
    {
        return Err(Problem::new(
            403,
            "foreign_host",
            format!(
                "Host {} is not a name of this endpoint; ask for http://{here}/ or http://localhost:{}/, and have a \
                 proxy send one of these as Host",
                quoted(host),
                here.port()
            ),
        ));
    }
    // A browser says so even where it sends no Origin, as for an image or a script of another site's page. Only a link to the
    // status page may be followed from there.
    if let Some(site @ ("cross-site" | "same-site")) = head.header("sec-fetch-site")
        && !is_link_to_page(head)
    {
        return Err(Problem::new(
            403,
            "foreign_site",
            format!(
                "Sec-Fetch-Site is {site}: a page of another site asks; only this endpoint's own pages may, and a link to / \
                 may be followed"
            ),
        ));
    }
    match head.header("origin") {
        Some(origin) if !host.is_some_and(|host| is_own_origin(origin, host)) => Err(Problem::new(
            403,
            "foreign_origin",
            format!(
                "Origin {} is another site; only this endpoint's own pages may ask from a browser, other programs \
                 send no Origin",
                quoted(origin)
            ),
        )),
        _ => Ok(()),
    }
}

/// What a browser sends that follows a link to the page.
fn is_link_to_page(head: &Head) -> bool {
    let is = |name, value: &str| head.header(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let path = head.target.split('?').next().unwrap_or_default();
    head.method == Method::Get
        && path == "/"
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Any port: a tunnel may have another one at its near end.
fn leads_here(host: &str, here: IpAddr) -> bool {
    let Some(name) = without_port(host) else { return false };
    if let Some(inside) = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return inside.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6() && is_here(it, here));
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_ipv4() && is_here(address, here);
    }
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost")
}

fn is_here(address: IpAddr, here: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address == here.to_canonical()
}

fn without_port(host: &str) -> Option<&str> {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => {
            let port = &host[colon + 1..];
            let is_port = port.is_empty() || (port.bytes().all(|it| it.is_ascii_digit()) && port.len() <= 5);
            is_port.then_some(&host[..colon])
        }
        _ => Some(host),
    }
}

/// `https` where a proxy in front speaks it.
fn is_own_origin(origin: &str, host: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        origin.get(..scheme.len()).is_some_and(|start| {
            start.eq_ignore_ascii_case(scheme) && origin[scheme.len()..].eq_ignore_ascii_case(host)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(here: &str, headers: &str) -> Result<(), Problem> {
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        let (head, _) = super::super::wire::parse_head(request.as_bytes()).unwrap().unwrap();
        check(&head, here.parse().unwrap())
    }

    #[test]
    fn names_of_this_machine_are_accepted_with_any_port() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:9",
            "127.0.0.1",
            "127.0.0.1:1234",
            "127.1.2.3",
            "[::1]",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "localhost:",
        ] {
            assert_eq!(ask("127.0.0.1:8080", &format!("Host: {host}\r\n")), Ok(()), "{host}");
        }
        assert_eq!(ask("10.0.0.7:80", "Host: 10.0.0.7\r\n"), Ok(()));
        assert_eq!(ask("[fe80::1]:80", "Host: [fe80::1]:80\r\n"), Ok(()));
        assert_eq!(ask("[::ffff:10.0.0.7]:80", "Host: 10.0.0.7\r\n"), Ok(()));
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.7",
            "[2001:db8::1]",
            "::1",
            "[127.0.0.1]",
            "localhost:8080:1",
            "localhost:80a",
            "user@localhost",
            "[::1",
            "",
            "localhost..",
        ] {
            let problem = ask("127.0.0.1:8080", &format!("Host: {host}\r\n")).unwrap_err();
            assert_eq!((problem.status, problem.code), (403, "foreign_host"), "{host}");
            assert!(problem.message.contains("http://127.0.0.1:8080/"), "{}", problem.message);
        }
    }

    #[test]
    fn what_a_browser_loads_for_another_sites_page_is_refused_but_a_link_to_the_page_is_not() {
        let host = "Host: localhost:8080\r\n";
        let from = |site: &str, more: &str, target: &str| {
            let request = format!("{target} HTTP/1.1\r\n{host}Sec-Fetch-Site: {site}\r\n{more}\r\n");
            let (head, _) = super::super::wire::parse_head(request.as_bytes()).unwrap().unwrap();
            check(&head, "127.0.0.1:8080".parse().unwrap()).map_err(|it| (it.status, it.code))
        };
        let link = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        let image = "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
        let frame = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
        for site in ["same-origin", "none"] {
            assert_eq!(from(site, image, "GET /status"), Ok(()), "{site}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(from(site, link, "GET /"), Ok(()), "{site}");
            for (more, target) in [
                (image, "GET /status"),
                (link, "GET /processes"),
                (link, "POST /"),
                (frame, "GET /"),
                ("", "GET /"),
            ] {
                assert_eq!(from(site, more, target), Err((403, "foreign_site")), "{site} {more} {target}");
            }
        }
    }

    #[test]
    fn only_pages_of_this_endpoint_may_ask() {
        let host = "Host: localhost:8080\r\n";
        for origin in ["http://localhost:8080", "https://localhost:8080", "HTTP://LOCALHOST:8080"] {
            assert_eq!(ask("127.0.0.1:8080", &format!("{host}Origin: {origin}\r\n")), Ok(()), "{origin}");
        }
        for origin in
            ["null", "http://evil.example", "http://localhost:3000", "http://localhost:80801", "", "http://é"]
        {
            let problem = ask("127.0.0.1:8080", &format!("{host}Origin: {origin}\r\n")).unwrap_err();
            assert_eq!((problem.status, problem.code), (403, "foreign_origin"), "{origin}");
        }
    }
}
