//! The sentences of the contract, one case each.
//!
//! A case decides from the broker's capabilities which of two branches it takes: the sentence is
//! kept, or what it needs is refused with `Unsupported`. It never passes without one of the two.

use std::fmt;
use std::pin::Pin;

use crate::trial::{Proof, Trial};

/// One sentence of the contract, and how it is tried.
#[derive(Clone, Copy)]
pub struct Case {
    /// `topic::case_name_as_a_sentence`.
    pub name: &'static str,
    pub(crate) run: fn(Trial) -> Running,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(crate) type Running = Pin<Box<dyn Future<Output = Proof> + Send>>;

macro_rules! topics {
    ($($topic:ident: [$($case:ident),* $(,)?])*) => {
        $(mod $topic;)*

        /// All cases, in the order in which they are best read.
        pub fn all() -> Vec<Case> {
            vec![$($(Case {
                name: concat!(stringify!($topic), "::", stringify!($case)),
                run: |trial| Box::pin($topic::$case(trial)),
            },)*)*]
        }
    };
}

topics! {
    enqueue: [
        outcomes_come_in_the_order_of_the_tasks,
        binary_and_empty_payloads_survive,
        kind_headers_and_key_survive,
        a_payload_over_the_limit_is_refused,
        a_batch_larger_than_the_limit_is_split,
        a_refused_task_is_named_and_leaves_the_others_alone,
        an_empty_batch_enqueues_nothing,
        the_same_task_sent_twice_is_two_tasks,
    ]
    receive: [
        an_empty_queue_answers_at_once_without_a_wait,
        nothing_ready_returns_empty_after_its_wait,
        a_waiting_receive_wakes_on_an_enqueue,
        a_waiting_receive_wakes_when_a_delay_is_due,
        a_waiting_receive_wakes_when_a_lease_ends,
        a_waiting_receive_wakes_on_a_release,
        the_limit_is_kept,
        options_that_make_no_sense_are_invalid,
        many_consumers_never_share_a_lease,
    ]
    attempt: [
        a_receive_made_again_has_the_same_tasks_and_tokens,
        a_receive_made_again_begins_its_leases_anew,
        another_name_is_another_receive,
        a_receive_whose_task_was_settled_is_not_made_again,
        a_receive_whose_task_came_back_is_a_new_one,
        a_receive_whose_task_another_one_took_is_not_made_again,
        a_receive_whose_lease_was_extended_is_not_made_again,
        a_receive_of_fewer_tasks_is_not_the_same,
        a_receive_over_partitions_is_made_again_whole_or_not_at_all,
        a_receive_is_known_for_five_minutes,
    ]
    lease: [
        a_leased_task_is_hidden,
        a_lease_tells_its_length_and_its_end,
        an_ended_lease_is_handed_out_again,
        a_receive_can_ask_for_its_own_lease,
        extending_keeps_the_lease,
        an_extension_counts_from_now,
        a_stale_token_neither_settles_nor_extends,
        an_ended_lease_still_settles_until_it_is_handed_out_again,
        an_ended_lease_cannot_be_extended,
        a_token_is_good_in_any_session_or_bound_to_its_own,
        a_token_of_another_queue_carries_nothing_out,
        garbage_is_not_a_token,
        a_lease_has_a_length_within_the_limits,
        every_delivery_has_a_token_of_its_own,
    ]
    session: [
        closing_with_release_gives_its_tasks_back_unharmed,
        closing_with_release_leaves_other_sessions_alone,
        closing_with_keep_holds_tasks_until_their_time,
        a_closed_session_does_nothing_more,
        closing_a_session_wakes_who_waits_in_it,
        a_member_is_listed_with_its_partitions,
    ]
    settle: [
        complete_is_final,
        settling_twice_is_already_done,
        a_settled_token_is_remembered_for_five_minutes,
        one_token_twice_in_a_batch_settles_once,
        verdicts_of_one_batch_each_have_their_outcome,
        out_of_order_completions_are_final_or_come_back_as_declared,
        a_released_task_is_ready_at_once,
        a_release_keeps_or_burns_the_attempt_as_declared,
        a_release_waits_for_its_delay,
    ]
    retry: [
        a_retry_without_a_delay_comes_back_at_once_with_its_error,
        a_retry_comes_back_after_its_delay,
        deliveries_and_attempts_are_counted,
        a_long_error_is_cut_to_what_is_kept,
    ]
    dead_letter: [
        a_task_out_of_attempts_dies,
        a_lease_that_ends_on_the_last_attempt_kills_its_task,
        a_dead_letter_keeps_its_reason_its_error_and_its_attempts,
        a_dead_task_moves_to_the_queue_its_policy_names,
        what_dies_in_a_dead_letter_queue_stays_there,
        a_dead_letter_queue_is_made_and_guarded,
        dead_letters_are_kept_for_their_retention,
        purging_the_dead_tells_how_many,
    ]
    redrive: [
        attempts_start_again,
        the_oldest_dead_go_first_up_to_the_limit,
        only_the_reasons_asked_for_are_taken,
        a_redriven_task_joins_the_tail,
        a_redriven_task_does_not_take_its_dedup_key_back,
        the_dead_come_back_from_a_named_queue,
        a_dead_task_in_a_workers_hands_stays_there,
        the_dead_are_admitted_to_a_full_queue,
    ]
    delay: [
        a_delayed_task_waits_for_its_time,
        a_delay_longer_than_the_lease_is_one_delivery,
        the_sooner_task_is_ready_first,
        a_delay_beyond_the_longest_is_refused,
    ]
    priority: [
        a_higher_priority_goes_first,
        within_one_priority_the_longest_ready_goes_first,
        a_retried_task_keeps_its_priority,
    ]
    dedup: [
        a_second_send_inside_the_window_is_a_duplicate,
        the_window_ends_on_time,
        the_window_holds_when_the_task_is_done,
        until_done_holds_until_the_task_is_done,
        until_done_ends_with_a_death,
        a_purge_frees_every_key,
        duplicates_in_one_batch_make_one_task,
        a_duplicate_needs_no_room,
        other_keys_and_other_queues_are_left_alone,
        a_window_of_no_length_or_too_much_is_refused,
    ]
    ordering: [
        tasks_of_one_key_come_in_order_one_at_a_time,
        a_retried_task_keeps_its_place,
        a_retry_that_waits_blocks_its_key,
        a_released_task_keeps_its_place,
        an_ended_lease_keeps_its_place,
        only_the_key_of_a_failed_task_is_blocked,
        a_dead_task_frees_its_key,
        a_receive_takes_up_to_per_key_tasks_of_a_key,
        tasks_without_a_key_are_bound_to_no_order,
        a_key_binds_nothing_on_an_unordered_queue,
        an_ordered_queue_takes_neither_delay_nor_priority,
        a_key_is_routed_to_its_partition,
    ]
    capacity: [
        a_full_queue_refuses_a_send,
        leased_and_scheduled_tasks_take_room,
        a_completed_task_makes_room,
        a_task_that_comes_back_is_always_admitted,
    ]
    retention: [
        a_task_older_than_its_retention_is_dropped,
        a_leased_task_is_dropped_when_it_comes_back,
    ]
    atomic: [
        a_settle_and_its_follow_ups_are_one_step,
        a_full_queue_leaves_both_undone,
        a_missing_queue_leaves_both_undone,
        a_refused_follow_up_leaves_both_undone,
        a_stale_token_enqueues_nothing,
        a_completed_task_makes_room_for_what_follows,
        a_duplicate_follow_up_answers_the_earlier_task,
    ]
    inspect: [
        stats_count_every_state,
        the_longest_wait_is_told,
        a_peek_shows_what_comes_next_and_hands_out_nothing,
        a_list_is_paged_and_filtered_by_state,
        one_task_is_found_by_its_id,
        queues_are_listed_by_name,
        an_unknown_queue_is_not_found,
    ]
    admin: [
        declaring_again_changes_nothing,
        declaring_another_spec_is_a_conflict,
        an_update_takes_effect_and_a_stale_one_is_a_conflict,
        order_and_partitions_cannot_be_updated,
        a_purge_leaves_nothing_but_the_dead,
        a_paused_queue_hands_nothing_out,
        resuming_wakes_who_waits,
        a_deleted_queue_is_gone,
    ]
    durability: [
        an_acknowledged_enqueue_survives,
        a_completed_task_stays_completed,
        a_leased_task_of_the_process_returns_at_once,
        a_leased_task_of_a_client_gets_one_full_length,
        attempts_and_errors_survive,
        a_token_survives_as_declared,
        dedup_keys_survive,
        delays_survive,
        dead_letters_survive,
        order_survives,
        specs_revisions_and_pauses_survive,
        fences_never_repeat,
    ]
    errors: [
        an_unknown_queue_is_not_found,
        after_a_close_everything_is_closed,
        a_close_wakes_who_waits,
        an_error_says_what_it_is_about,
        an_invalid_spec_is_refused,
    ]
    names: [
        queue_names_at_the_edges,
        kinds_keys_and_headers_at_the_edges,
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names: Vec<&str> = super::all().iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count >= 60, "{count}");
    }
}
