//! What is recorded for a task whose node has died under it: decided without a database.

use std::time::{Duration, Instant};

use crate::model::lifecycle::{ClaimMove, Outcome, TaskPosition, after_loss};
use crate::store::abandoned::AbandonedClaim;
use crate::store::record::{ExecutionResult, TaskResult};

/// What is recorded for a task whose node has died under it.
pub(crate) fn lost_result(claim: &AbandonedClaim) -> TaskResult {
    let times_lost = claim.times_lost + 1;
    let at = TaskPosition {
        has_next: claim.task_index + 1 < claim.total_tasks,
        retry_count: claim.retry_count,
        max_retries: claim.max_retries,
    };
    let loss = after_loss(at, claim.times_lost, claim.on_crash);
    let transition = loss.transition;
    let mut message = format!("node {} died while the command ran", claim.node_id);
    if loss.is_poison {
        message.push_str(&format!("; {times_lost} nodes have died under this task, it is not run again"));
    } else if transition.claim == ClaimMove::End {
        message.push_str("; on_crash is \"fail\", so it is not run again");
    }
    let process_error = (transition.claim == ClaimMove::End).then(|| {
        format!(
            "task \"{}\" ({} of {}) failed: {message}",
            claim.task_name,
            claim.task_index + 1,
            claim.total_tasks
        )
    });
    TaskResult {
        process_id: claim.process_id.as_str().into(),
        version: claim.version,
        task_index: claim.task_index,
        attempt: claim.attempt,
        transition,
        wait: Duration::ZERO,
        execution: ExecutionResult {
            command: None,
            outcome: Outcome::Lost,
            exit_code: None,
            signal: None,
            ended: Instant::now(),
            duration: claim.running,
            cpu: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: Some(message),
        },
        process_error,
        context: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::{ProcessStatus, TaskStatus};
    use crate::model::process_type::OnCrash;

    fn claim(times_lost: u32, on_crash: OnCrash) -> AbandonedClaim {
        AbandonedClaim {
            process_id: "p".to_owned(),
            node_id: "n-1".to_owned(),
            version: 3,
            total_tasks: 2,
            task_index: 0,
            task_name: "load".to_owned(),
            attempt: 4,
            retry_count: 1,
            max_retries: 1,
            on_crash,
            running: Duration::from_secs(5),
            times_lost,
        }
    }

    #[test]
    fn a_lost_task_is_due_again_and_spends_no_retry() {
        let result = lost_result(&claim(0, OnCrash::Rerun));
        assert_eq!(result.transition.task, TaskStatus::NotStarted);
        assert_eq!(result.transition.retry_count, 1);
        assert_eq!(result.process_error, None);
    }

    #[test]
    fn on_crash_fail_and_the_fifth_crash_fail_the_process_and_say_so() {
        let failed = lost_result(&claim(0, OnCrash::Fail));
        assert_eq!(failed.transition.process, ProcessStatus::Failed);
        assert!(failed.process_error.unwrap_or_default().contains("on_crash is \"fail\""));
        assert_eq!(lost_result(&claim(3, OnCrash::Rerun)).transition.process, ProcessStatus::InProgress);
        let poison = lost_result(&claim(4, OnCrash::Rerun));
        assert_eq!(poison.transition.process, ProcessStatus::Failed);
        assert!(poison.process_error.unwrap_or_default().contains("5 nodes have died under this task"));
    }
}
