use serde_json::json;

use crate::shell::Shell;

/// A queue with two dead tasks, `bad` for the reason "first" and `worse` for "second".
fn with_two_dead(create: &[&str]) -> Shell {
    let shell = Shell::new();
    let mut arguments = vec!["queue", "create", "q"];
    arguments.extend(create);
    shell.run(&arguments).ok();
    shell.run_with(&["send", "q", "-"], "bad\nworse\n").ok();
    let script = "test $(cat) = bad && echo first >&2 || echo second >&2; exit 65";
    let work = ["work", "q", "--until-empty", "--concurrency", "1", "--", "sh", "-c", script];
    shell.run(&work).ok();
    shell
}

#[test]
fn the_dead_are_listed_shown_redriven_and_purged_where_they_died() {
    let shell = with_two_dead(&[]);
    let dead = shell.json(&["dlq", "list", "q"]);
    assert_eq!((&dead[0]["payload"], &dead[1]["payload"]), (&json!("bad"), &json!("worse")));
    assert_eq!(dead[0]["dead_letter"]["source"], "q");
    let only = shell.json(&["dlq", "list", "q", "--reason", "second"]);
    assert_eq!((only.as_array().unwrap().len(), &only[0]["payload"]), (1, &json!("worse")));
    let shown = shell.run(&["dlq", "show", "q", dead[0]["id"].as_str().unwrap()]).ok().stdout;
    assert!(shown.contains("reason        exit code 65 (EX_DATAERR): first"), "{shown}");
    assert_eq!(shell.json(&["dlq", "redrive", "q", "--limit", "1"])["redriven"], 1);
    assert_eq!(shell.json(&["task", "list", "q", "--state", "ready"])[0]["payload"], "bad");
    assert_eq!(shell.json(&["dlq", "purge", "q", "--yes", "--reason", "second"])["purged"], 1);
    assert_eq!(shell.json(&["dlq", "list", "q"]), json!([]));
}

#[test]
fn the_dead_are_found_where_they_were_moved_and_the_hint_names_their_source() {
    let shell = with_two_dead(&["--dlq", "q.dead"]);
    let dead = shell.json(&["dlq", "list", "q"]);
    assert_eq!((dead.as_array().unwrap().len(), &dead[0]["queue"]), (2, &json!("q.dead")));
    let shown = shell.json(&["dlq", "show", "q", dead[0]["id"].as_str().unwrap()]);
    assert_eq!(shown["dead_letter"]["source"], "q");
    let wrong = shell.run(&["dlq", "list", "q.dead"]).ok();
    assert!(wrong.stderr.contains("hint: \"q.dead\" is where the dead of \"q\" are"), "{wrong:?}");
    assert_eq!(shell.json(&["dlq", "redrive", "q"])["redriven"], 2);
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["ready"], 2);
}
