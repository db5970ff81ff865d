//! The reference, one page for each part. `process-orchestrator help TOPIC` prints the same pages.

/// A module for each page and [`PAGES`]. On the pages `[flow]` is a link to `flow.md`; rustdoc takes the first
/// definition of a link, and that is the module.
macro_rules! pages {
    ($($page:ident)*) => {
        pages!(@modules concat!($("[", stringify!($page), "]: crate::guide::", stringify!($page), "\n"),*); $($page)*);

        /// The name and the text of each page.
        pub(crate) const PAGES: &[(&str, &str)] =
            &[$((stringify!($page), include_str!(concat!(stringify!($page), ".md")))),*];
    };
    (@modules $links:expr; $($page:ident)*) => {
        $(
            #[doc = $links]
            #[doc = include_str!(concat!(stringify!($page), ".md"))]
            pub mod $page {}
        )*
    };
}

pages! {
    process_types starting schedules flow limits batches operations service http nodes protocol engine database security faults performance
}
