use crate::shell::{Shell, names};

#[test]
fn the_rows_have_exactly_the_documented_names_and_the_queue_is_gone_afterwards() {
    let shell = Shell::new();
    let bench = [
        "bench",
        "--broker",
        "memory:",
        "--broker",
        "embedded:./data?durability=never",
        "--tasks",
        "200",
        "--rounds",
        "1",
        "--concurrency",
        "4",
        "--payload",
        "100",
    ];
    let rows = shell.json(&bench);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let expected = [
            "baseline_tasks_per_second",
            "batch",
            "broker",
            "concurrency",
            "cpu_us_per_task",
            "durability",
            "enqueue_p50_us",
            "enqueue_p99_us",
            "payload_bytes",
            "pickup_p50_us",
            "pickup_p99_us",
            "ratio",
            "tasks_per_second",
        ];
        assert_eq!(names(row), expected);
        for name in expected.iter().filter(|name| !["broker", "durability"].contains(name)) {
            assert!(row[name].as_f64().is_some_and(|number| number > 0.0), "{name} of {row}");
        }
    }
    let shape: Vec<_> =
        rows.iter().map(|row| (row["concurrency"].clone(), row["batch"].clone())).collect();
    let five = [(4, 1), (1, 64), (1, 1), (4, 1), (1, 1)].map(|(c, b)| (c.into(), b.into()));
    assert_eq!(shape, [five.clone(), five].concat());
    assert_eq!(rows[5]["broker"], "embedded:./data");
    assert_eq!(rows[5]["durability"], "never");
    assert_eq!(rows[8]["broker"], "embedded:./data (worker)");
    assert_eq!(rows[9]["broker"], "embedded:./data (idle pick-up)");
    assert_eq!(
        shell.json(&["queue", "list", "--broker", "embedded:./data"]),
        serde_json::json!([])
    );
}

#[test]
fn durability_is_refused_for_a_broker_that_is_not_embedded() {
    let shell = Shell::new();
    let refused = shell.run(&["bench", "--broker", "memory:", "--durability", "always"]);
    refused.fails(2, &["embedded brokers"]);
}
