//! Asking a stub for everything it has to say.

use super::*;

#[tokio::test]
async fn the_answer_to_a_sync_comes_after_every_record_handed_over_before() {
    let mut stub = Stub::start(Part::Probe).await;
    let nobody = "127.0.0.1:1".parse().expect("literal");
    let outcome = stub.get(nobody, "/").await;
    assert!(
        matches!(outcome, CallOutcome::ConnectFailed(_)),
        "{outcome:?}"
    );
    assert_eq!(
        stub.records.len(),
        1,
        "the failed connect came before the reply"
    );
    stub.commands
        .send(Ok(Command::Sync { id: 42 }))
        .await
        .expect("the stub takes commands");
    assert_eq!(stub.next_line().await, Line::Synced { id: 42 });
}
