//! Messages as a careful client, a careless one and a hostile one send them.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn query() -> Query {
    Query::new("example.org", true).expect("a name")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal")
}

fn read(query: &Query) -> Message {
    read_query(&query.bytes).expect("a query")
}

/// More than fit into 512 bytes, less than 1232.
fn many() -> Vec<IpAddr> {
    (1..=40)
        .map(|last| IpAddr::from([192, 0, 2, last]))
        .collect()
}

#[test]
fn an_answer_keeps_the_clients_spelling_of_the_name() {
    let query = Query::new("eXample.ORG", true).expect("a name");
    let answer = addresses(&read(&query), &[ip("192.0.2.1")]);
    let names = [&answer.queries[0].name, &answer.answers[0].name];
    assert_eq!(names.map(Name::to_ascii), ["eXample.ORG."; 2]);
}

#[test]
fn only_an_answer_to_the_very_query_is_taken() {
    let asked = query();
    let answer = addresses(&read(&asked), &[ip("192.0.2.1")]);
    let reading = |message: &Message| asked.read(&message.to_vec().expect("encodes"));
    assert_eq!(
        reading(&answer),
        Ok(Reading::Addresses(vec![ip("192.0.2.1")]))
    );
    let mut other_id = answer.clone();
    other_id.metadata.id = asked.id.wrapping_add(1);
    assert_eq!(reading(&other_id), Ok(Reading::Foreign));
    let mut no_answer = answer.clone();
    no_answer.metadata.message_type = MessageType::Query;
    assert_eq!(reading(&no_answer), Ok(Reading::Foreign));
    let mut other_question = answer;
    other_question.queries = Query::new("example.com", true)
        .map(|query| vec![query.question])
        .expect("a name");
    assert_eq!(reading(&other_question), Ok(Reading::Foreign));
}

#[rstest]
#[case(ResponseCode::NXDomain, "NXDOMAIN")]
#[case(ResponseCode::ServFail, "SERVFAIL")]
#[case(ResponseCode::Refused, "REFUSED")]
#[case(ResponseCode::NoError, "NOERROR without addresses")]
#[case(ResponseCode::Unknown(12), "RCODE 12")]
fn an_answer_without_addresses_is_told_by_its_code(
    #[case] code: ResponseCode,
    #[case] words: &str,
) {
    let asked = query();
    let answer = failure(&read(&asked), code).to_vec().expect("encodes");
    assert_eq!(
        asked.read(&answer),
        Ok(Reading::NoAddress(words.to_owned()))
    );
}

#[rstest]
#[case::udp(Transport::Udp, false, true)]
#[case::udp_with_edns(Transport::Udp, true, false)]
#[case::tcp(Transport::Tcp, false, false)]
fn an_answer_is_cut_to_what_the_client_takes(
    #[case] transport: Transport,
    #[case] edns: bool,
    #[case] cut: bool,
) {
    let asked = query();
    let mut message = read(&asked);
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        message.set_edns(edns);
    }
    let answer = addresses(&message, &many());
    let bytes = encode(&answer, Some(&message), transport).expect("encodes");
    let wanted = if cut {
        Reading::NoAddress("NOERROR, truncated".to_owned())
    } else {
        Reading::Addresses(many())
    };
    assert_eq!(asked.read(&bytes), Ok(wanted));
    assert_eq!(bytes.len() > 512, !cut);
}

fn changed(change: impl Fn(&mut Message)) -> Vec<u8> {
    let mut message = read(&query());
    change(&mut message);
    message.to_vec().expect("encodes")
}

#[rstest]
#[case::no_question(changed(|it| it.queries.clear()), "FORMERR")]
#[case::two_questions(changed(|it| it.queries.push(it.queries[0].clone())), "FORMERR")]
#[case::cut_off(query().bytes[..20].to_vec(), "FORMERR")]
#[case::name_that_points_to_itself(points_to_itself(), "FORMERR")]
#[case::an_update(changed(|it| it.metadata.op_code = OpCode::Update), "NOTIMP")]
#[case::class_chaos(changed(|it| it.queries[0].query_class = DNSClass::CH), "REFUSED")]
fn a_query_nobody_can_serve_is_told_so(#[case] bytes: Vec<u8>, #[case] code: &str) {
    let unserved = read_query(&bytes).expect_err("not served");
    let answer = unserved.answer.expect("an answer");
    assert_eq!(code_words(answer.response_code), code, "{}", unserved.why);
    assert_eq!(answer.id.to_be_bytes(), bytes[..2]);
}

/// A compression pointer to the place it stands at: a reader that follows it never ends.
fn points_to_itself() -> Vec<u8> {
    let mut bytes = query().bytes[..12].to_vec();
    bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    bytes
}

#[rstest]
#[case::nothing(&[])]
#[case::less_than_a_header(&[0; 11])]
fn bytes_without_a_header_get_no_answer(#[case] bytes: &[u8]) {
    assert!(read_query(bytes).expect_err("no query").answer.is_none());
}

#[test]
fn an_answer_gets_no_answer() {
    let bytes = changed(|it| it.metadata.message_type = MessageType::Response);
    assert!(read_query(&bytes).expect_err("no query").answer.is_none());
}

/// What a server does with a message, up to the bytes it sends.
fn serve(bytes: &[u8]) -> Option<Vec<u8>> {
    let (query, answer) = match read_query(bytes) {
        Ok(query) => {
            let answer = addresses(&query, &many());
            (Some(query), Some(answer))
        }
        Err(unserved) => (None, unserved.answer.map(|it| *it)),
    };
    answer.map(|it| encode(&it, query.as_ref(), Transport::Udp).expect("encodes"))
}

fn check_service(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Some(answer) = serve(bytes) else {
        return Ok(());
    };
    prop_assert!(answer.len() <= usize::from(DEFAULT_MAX_PAYLOAD_LEN));
    prop_assert_eq!(&answer[..2], &bytes[..2]);
    prop_assert!(bytes[2] & 0x80 == 0, "an answer was answered");
    // What a server sends, it ignores: two of them can't go on for ever.
    prop_assert_eq!(serve(&answer), None);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_served_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check_service(&bytes)?;
    }

    #[test]
    fn a_query_with_any_bytes_changed_is_served_or_ignored(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = query().bytes;
        bytes.extend(rest);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_service(&bytes)?;
    }

    #[test]
    fn any_answer_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let asked = query();
        let mut bytes = addresses(&read(&asked), &many()).to_vec().expect("encodes");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Whatever it says, it ends.
        let _ = asked.read(&bytes);
    }
}
