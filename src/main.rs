//! argv in, exit code out.
fn main() {
    process_orchestrator::engine::guard::run_if_asked();
}
