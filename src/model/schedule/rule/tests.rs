use proptest::prelude::*;

use super::*;

fn rule(cron: &str, zone: &str) -> Rule {
    let zone = TimeZone::get(zone).expect(zone);
    Rule {
        pace: Pace::Cron(Box::new(CronExpression::parse(cron).expect(cron))),
        zone,
        from: None,
        until: None,
    }
}

fn every(seconds: u64, from: Option<&str>) -> Rule {
    let from = from.map(at);
    Rule { pace: Pace::Every(seconds), zone: TimeZone::UTC, from, until: None }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// The times from `from` on, as its zone's clock shows them, with their offsets.
fn times(rule: &Rule, from: &str, count: usize) -> Vec<String> {
    let shown = |it: Timestamp| it.to_zoned(rule.zone.clone()).strftime("%m-%d %H:%M:%S %:z").to_string();
    rule.times(at(from)).take(count).map(shown).collect()
}

#[test]
fn a_fixed_time_comes_once_a_day_whatever_the_clocks_do() {
    // (zone, expression, from, the times)
    let table: &[(&str, &str, &str, &[&str])] = &[
        // Skipped: at the first instant after the gap.
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T00:00:00Z",
            &["03-28 02:30:00 +01:00", "03-29 03:00:00 +02:00", "03-30 02:30:00 +02:00"],
        ),
        // Repeated: at the first.
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T00:00:00Z",
            &["10-24 02:30:00 +02:00", "10-25 02:30:00 +02:00", "10-26 02:30:00 +01:00"],
        ),
        // Several that are skipped, and the one right after: together.
        (
            "Europe/Berlin",
            "0,30 1-3 * * *",
            "2026-03-29T00:00:00Z",
            &[
                "03-29 01:00:00 +01:00",
                "03-29 01:30:00 +01:00",
                "03-29 03:00:00 +02:00",
                "03-29 03:30:00 +02:00",
            ],
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00:00Z",
            &["03-08 03:00:00 -04:00", "03-09 02:30:00 -04:00"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00:00Z",
            &["11-01 01:30:00 -04:00", "11-02 01:30:00 -05:00"],
        ),
        // Half an hour.
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-02T20:00:00Z",
            &["10-04 02:30:00 +11:00", "10-05 02:15:00 +11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-03T20:00:00Z",
            &["04-05 01:45:00 +11:00", "04-06 01:45:00 +10:30"],
        ),
        // No changes, and an odd offset; its clock went forward by fifteen minutes at a midnight.
        (
            "Asia/Kathmandu",
            "0 6 * * *",
            "2026-03-28T12:00:00Z",
            &["03-29 06:00:00 +05:45", "03-30 06:00:00 +05:45"],
        ),
        (
            "Asia/Kathmandu",
            "5 0 * * *",
            "1985-12-30T12:00:00Z",
            &["12-31 00:05:00 +05:30", "01-01 00:15:00 +05:45"],
        ),
        // Midnight was skipped and repeated; since 2019 no more.
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2018-11-03T12:00:00Z",
            &["11-04 01:00:00 -02:00", "11-05 00:00:00 -02:00"],
        ),
        (
            "America/Sao_Paulo",
            "30 23 * * *",
            "2019-02-16T12:00:00Z",
            &["02-16 23:30:00 -02:00", "02-17 23:30:00 -03:00"],
        ),
        ("America/Sao_Paulo", "0 0 * * *", "2026-11-01T12:00:00Z", &["11-02 00:00:00 -03:00"]),
        // A day that was not: right after it.
        (
            "Pacific/Apia",
            "0 12 * * *",
            "2011-12-29T12:00:00Z",
            &["12-29 12:00:00 -10:00", "12-31 00:00:00 +14:00", "12-31 12:00:00 +14:00"],
        ),
        ("UTC", "30 2 * * *", "2026-03-28T12:00:00Z", &["03-29 02:30:00 +00:00", "03-30 02:30:00 +00:00"]),
        (
            "Europe/Berlin",
            "0 0 29 2 *",
            "2026-01-01T00:00:00Z",
            &["02-29 00:00:00 +01:00", "02-29 00:00:00 +01:00"],
        ),
    ];
    for (zone, cron, from, expected) in table {
        assert_eq!(times(&rule(cron, zone), from, expected.len()), *expected, "{cron} {zone}");
    }
}

#[test]
fn wildcards_follow_real_time() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        // Each hour, by the clock or not: the gap has none, the repeated hour two.
        (
            "Europe/Berlin",
            "0 * * * *",
            "2026-03-29T00:00:00Z",
            &["03-29 01:00:00 +01:00", "03-29 03:00:00 +02:00", "03-29 04:00:00 +02:00"],
        ),
        (
            "Europe/Berlin",
            "0 * * * *",
            "2026-10-24T23:30:00Z",
            &["10-25 02:00:00 +02:00", "10-25 02:00:00 +01:00", "10-25 03:00:00 +01:00"],
        ),
        (
            "Europe/Berlin",
            "*/30 2 * * *",
            "2026-03-28T20:00:00Z",
            &["03-30 02:00:00 +02:00", "03-30 02:30:00 +02:00"],
        ),
        (
            "America/New_York",
            "*/30 1 * * *",
            "2026-11-01T04:00:00Z",
            &[
                "11-01 01:00:00 -04:00",
                "11-01 01:30:00 -04:00",
                "11-01 01:00:00 -05:00",
                "11-01 01:30:00 -05:00",
            ],
        ),
        (
            "Australia/Lord_Howe",
            "*/15 * * * *",
            "2026-04-04T14:44:00Z",
            &[
                "04-05 01:45:00 +11:00",
                "04-05 01:30:00 +10:30",
                "04-05 01:45:00 +10:30",
                "04-05 02:00:00 +10:30",
            ],
        ),
        (
            "America/Sao_Paulo",
            "0 * * * *",
            "2018-11-04T02:00:00Z",
            &["11-03 23:00:00 -03:00", "11-04 01:00:00 -02:00"],
        ),
    ];
    for (zone, cron, from, expected) in table {
        assert_eq!(times(&rule(cron, zone), from, expected.len()), *expected, "{cron} {zone}");
    }
}

#[test]
fn a_year_with_both_changes_has_its_number_of_times() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"] {
        let count = |cron: &str| {
            let (begin, end) = (at("2026-01-15T12:00:00Z"), at("2027-01-15T12:00:00Z"));
            rule(cron, zone).times(begin).take_while(|it| *it < end).count()
        };
        assert_eq!(count("30 2 * * *"), 365, "{zone}");
        assert_eq!(count("45 1 * * *"), 365, "{zone}");
        assert_eq!(count("*/30 * * * *"), 365 * 48, "{zone}");
    }
}

#[test]
fn lengths_are_real_time_from_their_begin() {
    // Ninety minutes do not divide the day: the times go through it.
    let table: &[(Rule, &str, &[&str])] = &[
        (every(5_400, None), "1970-01-01T23:00:00Z", &["01-02 00:00:00 +00:00", "01-02 01:30:00 +00:00"]),
        (every(25_200, None), "1970-01-01T20:00:00Z", &["01-01 21:00:00 +00:00", "01-02 04:00:00 +00:00"]),
        (
            every(25_200, Some("2026-11-29T08:10:00Z")),
            "2026-01-01T00:00:00Z",
            &[
                "11-29 08:10:00 +00:00",
                "11-29 15:10:00 +00:00",
                "11-29 22:10:00 +00:00",
                "11-30 05:10:00 +00:00",
            ],
        ),
        (every(1, None), "1969-12-31T23:59:58.5Z", &["12-31 23:59:59 +00:00", "01-01 00:00:00 +00:00"]),
    ];
    for (rule, from, expected) in table {
        assert_eq!(times(rule, from, expected.len()), *expected);
    }
    // A day of summer time is as long as any other.
    let mut daily = every(86_400, Some("2026-03-28T12:00:00Z"));
    daily.zone = TimeZone::get("Europe/Berlin").expect("a zone");
    assert_eq!(times(&daily, "2026-03-28T00:00:00Z", 2), ["03-28 13:00:00 +01:00", "03-29 14:00:00 +02:00"]);
}

#[test]
fn from_and_until_are_included_and_nothing_beyond() {
    let mut daily = rule("0 2 * * *", "UTC");
    daily.from = Some(at("2026-11-29T02:00:00Z"));
    daily.until = Some(at("2026-11-30T02:00:00Z"));
    assert_eq!(times(&daily, "2026-01-01T00:00:00Z", 5), ["11-29 02:00:00 +00:00", "11-30 02:00:00 +00:00"]);
    assert_eq!(daily.before(at("2026-11-29T02:00:00Z")), Some(at("2026-11-28T02:00:00Z")));
    assert_eq!(every(60, None).before(at("2026-11-29T02:00:00Z")), Some(at("2026-11-29T01:59:00Z")));
}

#[test]
fn a_change_of_the_clocks_is_told() {
    let change =
        |cron: &str, time: &str| rule(cron, "Europe/Berlin").change_at(at(time)).map(|it| it.to_string());
    assert_eq!(
        change("30 2 * * *", "2026-03-29T01:00:00Z").as_deref(),
        Some("the clock skips 02:30:00: it comes right after the gap")
    );
    assert_eq!(
        change("30 2 * * *", "2026-10-25T00:30:00Z").as_deref(),
        Some("the clock shows this time twice: it comes at the first")
    );
    assert_eq!(
        change("0 * * * *", "2026-10-25T01:00:00Z").as_deref(),
        Some("the clock shows this time twice: the second")
    );
    assert_eq!(
        change("0 4 * * *", "2026-03-29T02:00:00Z").as_deref(),
        Some("the clock has changed from +01:00 to +02:00")
    );
    assert_eq!(change("0 4 * * *", "2026-03-30T02:00:00Z"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each time is later than the one before; none is left out between two; what comes before one is the one before.
    #[test]
    fn times_go_on_and_none_is_lost(
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
            "Asia/Kathmandu", "America/Sao_Paulo", "UTC", "Africa/Casablanca", "Pacific/Apia"]),
        cron in prop::sample::select(vec!["*/7 * * * *", "0 * * * *", "30 2 * * *", "15,45 0-4 * * *", "0 0 * * *",
            "10 1 1 * *", "0 */3 * * 0", "59 23 * * *", "*/20 1-2 * * *"]),
        start in 946_684_800_i64..2_208_988_800,
        later in 0_i64..200_000,
    ) {
        let rule = rule(cron, zone);
        let start = Timestamp::from_second(start).expect("in range");
        let times: Vec<Timestamp> = rule.times(start).take(50).collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(times[0] >= start);
        prop_assert_eq!(rule.before(times[1]), Some(times[0]));
        // Wherever a look begins, it finds the next of them.
        let look = start.checked_add(SignedDuration::from_secs(later)).expect("in range");
        if let Some(next) = times.iter().find(|it| **it > look) {
            prop_assert_eq!(rule.after(look), Some(*next));
        }
        // Each is a time that the expression names, but for those right after a gap.
        let Pace::Cron(cron) = &rule.pace else { unreachable!() };
        for time in times {
            let civil = rule.zone.to_datetime(time);
            let names = cron.next(civil, true) == Some(civil);
            prop_assert!(names || rule.zone.preceding(time + NANOSECOND).next().map(|it| it.timestamp()) == Some(time));
        }
    }
}
