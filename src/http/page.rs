//! What `/` shows to people: one document with all that it needs in it, which asks the other paths for what it shows.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::answer::Answer;

const STYLE: &str = include_str!("page/page.css");
/// One script out of several files: it runs only as the whole whose hash the policy names.
macro_rules! script {
    () => {
        concat!(
            include_str!("page/base.js"),
            include_str!("page/schedules.js"),
            include_str!("page/overview.js"),
            include_str!("page/process.js"),
            include_str!("page/main.js"),
        )
    };
}
const SCRIPT: &str = script!();
const DOCUMENT: &str = concat!(
    include_str!("page/head.html"),
    "<style>",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>",
    script!(),
    "</script>\n</body>\n</html>\n"
);

/// The page. No other site may show it in a frame, nothing in it but its own style and script has any effect, and it
/// can ask nobody but this endpoint: a text of a process that got into it as HTML would do nothing.
pub(super) fn answer() -> Answer {
    static POLICY: OnceLock<String> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; connect-src 'self'; img-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    });
    let mut answer = Answer::of("text/html; charset=utf-8", DOCUMENT.as_bytes());
    answer.headers = vec![
        ("Content-Security-Policy", policy.clone()),
        ("X-Frame-Options", "DENY".into()),
        ("Referrer-Policy", "no-referrer".into()),
        vary(),
    ];
    answer
}

/// For both answers of `/`.
pub(super) fn vary() -> (&'static str, String) {
    ("Vary", "Accept".into())
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// Whether this `Accept` header wants HTML more than JSON, as those of browsers do.
pub(super) fn is_preferred(accept: &str) -> bool {
    weight(accept, "text", "html") > weight(accept, "application", "json")
}

/// What the header thinks of a media type, from 0 to 1: the most specific of its ranges counts.
fn weight(accept: &str, kind: &str, subtype: &str) -> f32 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (its_kind, its_subtype) = parts.next()?.split_once('/')?;
        let specific = match (its_kind, its_subtype) {
            ("*", "*") => 0,
            (it, "*") if it.eq_ignore_ascii_case(kind) => 1,
            (it, sub) if it.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let given = parts.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
        let weight: f32 = given.map_or(Some(1.0), |it| it.parse().ok())?;
        Some((specific, weight))
    });
    ranges.max_by_key(|(specific, _)| *specific).map_or(0.0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_the_page_and_programs_do_not() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html, application/xhtml+xml, image/jxr, */*;q=0.5",
            "TEXT/HTML",
            "text/*;q=0.5, */*;q=0.1",
            "text/html;level=1;q=0.9, application/json; q=0.8",
            "text/html",
        ] {
            assert!(is_preferred(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "text/html;q=0.5, application/json",
            "text/html, application/json",
            "text/html;q=0",
            "text/html;q=x",
            "html",
            ";,/;q",
        ] {
            assert!(!is_preferred(accept), "{accept}");
        }
    }

    #[test]
    fn the_document_holds_style_and_script_once_and_as_hashed() {
        for (tag, text) in [("style", STYLE), ("script", SCRIPT)] {
            assert!(DOCUMENT.contains(&format!("<{tag}>{text}</{tag}>")));
            assert_eq!(DOCUMENT.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!text.contains("</"), "{tag} would end early, or looks as if");
        }
    }
}
