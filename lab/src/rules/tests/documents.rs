//! Every form of rules a person has, found by content.

use super::*;

/// The `-S` listing of the seed's nat table, its typo repaired.
const COMMANDS: &str = "\
-P PREROUTING ACCEPT
-P INPUT ACCEPT
-P OUTPUT ACCEPT
-P POSTROUTING ACCEPT
# the chains of Istio
-N ISTIO_INBOUND
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-N ISTIO_REDIRECT
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
";

/// The `-L -v` listing of the same table after two days.
pub(crate) const LISTING: &str = "\
# PREROUTING 链：用于目标地址转换（DNAT）
Chain PREROUTING (policy ACCEPT 85821 packets, 5149K bytes)
 pkts bytes target     prot opt in     out     source               destination         
85873 5152K ISTIO_INBOUND  tcp  --  any    any     anywhere             anywhere   

Chain INPUT (policy ACCEPT 85873 packets, 5152K bytes)
 pkts bytes target     prot opt in     out     source               destination         

# OUTPUT 链
Chain OUTPUT (policy ACCEPT 86721 packets, 5381K bytes)
 pkts bytes target     prot opt in     out     source               destination         
 138K 8253K ISTIO_OUTPUT  tcp  --  any    any     anywhere             anywhere            

Chain POSTROUTING (policy ACCEPT 144K packets, 8813K bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain ISTIO_INBOUND (1 references)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:15008
    0     0 RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:15090
85820 5149K RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:15021
    1    60 RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:15020
   52  2704 ISTIO_IN_REDIRECT  tcp  --  any    any     anywhere             anywhere            

Chain ISTIO_IN_REDIRECT (3 references)
 pkts bytes target     prot opt in     out     source               destination         
   52  2704 REDIRECT   tcp  --  any    any     anywhere             anywhere             redir ports 15006

Chain ISTIO_OUTPUT (1 references)
 pkts bytes target     prot opt in     out     source               destination         
   61  3660 RETURN     all  --  any    lo      127.0.0.6            anywhere            
    0     0 ISTIO_IN_REDIRECT  all  --  any    lo      anywhere            !localhost            owner UID match 1337
22906 1374K RETURN     all  --  any    lo      anywhere             anywhere             ! owner UID match 1337
57374 3442K RETURN     all  --  any    any     anywhere             anywhere             owner UID match 1337
    0     0 ISTIO_IN_REDIRECT  all  --  any    lo      anywhere            !localhost            owner GID match 1337
    0     0 RETURN     all  --  any    lo      anywhere             anywhere             ! owner GID match 1337
    0     0 RETURN     all  --  any    any     anywhere             anywhere             owner GID match 1337
    0     0 RETURN     all  --  any    any     anywhere             localhost           
57202 3432K ISTIO_REDIRECT  all  --  any    any     anywhere             anywhere            

Chain ISTIO_REDIRECT (1 references)
 pkts bytes target     prot opt in     out     source               destination         
57202 3432K REDIRECT   tcp  --  any    any     anywhere             anywhere             redir ports 15001
";

fn log() -> String {
    let stamp = "2022-04-21T10:19:44.852472Z\tinfo\t";
    format!(
        "{stamp}Istio iptables environment:\nENVOY_PORT=\nINVALID_DROP=\n\n\
        {stamp}Istio iptables variables:\nPROXY_PORT=15001\nINBOUND_PORTS_EXCLUDE=15090,15021,15020\nOUTPUT_PATH=\n\n\
        {stamp}Writing following contents to rules file: /tmp/iptables-rules-1650536384852623234.txt3242838786\n{ISTIO_V4}\
        {stamp}Running command: iptables-restore --noflush /tmp/iptables-rules-1650536384852623234.txt3242838786\n\
        {stamp}Writing following contents to rules file: /tmp/ip6tables-rules-1650536384855431751.txt3425188538\n{ISTIO_V6}\
        {stamp}Running command: iptables-save \n{stamp}Command output: \n{}",
        to_save(&istio(Family::V4)),
    )
}

fn document(text: &str) -> Document {
    read(text, "x", Family::V4).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn only(text: &str) -> (Form, RuleSet) {
    let mut dumps = document(text).dumps;
    assert_eq!(dumps.len(), 1);
    let dump = dumps.remove(0);
    (
        dump.form,
        dump.rules.unwrap_or_else(|error| panic!("{error}")),
    )
}

#[test]
fn every_form_gives_the_same_18_rules() {
    let saved = to_save(&istio(Family::V4));
    for (text, form) in [
        (ISTIO_V4, Form::Restore),
        (saved.as_str(), Form::Save),
        (COMMANDS, Form::Commands),
        (LISTING, Form::Listing),
    ] {
        let (found, rules) = only(text);
        assert_eq!(found, form);
        assert_eq!(rules.without_counters(), istio(Family::V4), "{form:?}");
    }
}

#[test]
fn a_page_with_all_forms_in_it_is_searched_for_them() {
    let page = format!(
        "# service-mesh\n\n1. `-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT`\n- a list\n\n```shell\n\
        [root@biz-node-44 ~]# nsenter -t 2541 -n iptables -t nat -S\n{COMMANDS}\n\
        [root@biz-node-44 ~]# nsenter -t 2541 -n iptables -t nat -L -v \n{LISTING}\n```\n\n{}\n```\n",
        log()
    );
    let document = document(&page);
    let forms: Vec<(Form, Family)> = document
        .dumps
        .iter()
        .map(|it| (it.form, it.family))
        .collect();
    let expected = [
        (Form::Commands, Family::V4),
        (Form::Listing, Family::V4),
        (Form::Restore, Family::V4),
        (Form::Restore, Family::V6),
        (Form::Save, Family::V4),
    ];
    assert_eq!(forms, expected);
    for dump in &document.dumps {
        let rules = dump
            .rules
            .as_ref()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rules.without_counters(), istio(dump.family));
    }
    assert_eq!(
        document.variables["INBOUND_PORTS_EXCLUDE"],
        "15090,15021,15020"
    );
    assert_eq!(document.variables["OUTPUT_PATH"], "");
    assert_eq!(document.environment.len(), 2);
    let both = document.rules().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(both.len(), 2);
}

#[test]
fn the_seeds_typo_is_a_jump_to_nowhere_and_hides_no_other_dump() {
    let typo = COMMANDS.replacen("-j ISTIO_INBOUND\n", "-j ISTIO_INBOUND链\n", 1);
    let page = format!("$ iptables -t nat -S\n{typo}\n$ iptables -t nat -L -v\n{LISTING}");
    let document = read(&page, "seed.md", Family::V4).expect("there are rules in it");
    let error = document.dumps[0]
        .rules
        .clone()
        .expect_err("the chain does not exist");
    insta::assert_snapshot!(error, @r"
    seed.md:11:25: chain `ISTIO_INBOUND链` does not exist
      11 | -A PREROUTING -p tcp -j ISTIO_INBOUND链
         |                         ^^^^^^^^^^^^^^
         = help: did you mean `ISTIO_INBOUND`?
    ");
    assert!(document.dumps[1].rules.is_ok());
    assert_eq!(document.rules(), Err(error));
}

#[test]
fn counters_of_a_listing_are_exact_or_a_range() {
    let (_, rules) = only(LISTING);
    let rule = |chain, ordinal| rules.rule(&v4(chain, ordinal)).expect("it is listed");
    let exact = rule("ISTIO_INBOUND", 5);
    let counter = Counter {
        packets: 52,
        bytes: 2704,
    };
    assert_eq!((exact.counters, exact.rounded), (Some(counter), None));
    let rounded = rule("OUTPUT", 1).rounded.expect("138K is rounded");
    assert_eq!(
        rounded.packets,
        CountRange {
            least: 137_500,
            most: 138_499
        }
    );
    // What the rules of ISTIO_OUTPUT counted adds up to what entered it.
    assert!(rounded.packets.contains(61 + 22_906 + 57_374 + 57_202));
    let policy = rules.tables[&Table::Nat]
        .chain("POSTROUTING")
        .expect("built in");
    assert!(
        policy
            .policy_rounded
            .is_some_and(|it| it.packets.contains(86_721 + 57_202))
    );
    let error = CounterSnapshot::new(&rules).expect_err("some are rounded");
    assert_eq!(
        error.to_string(),
        "the counters of nat PREROUTING 1 are rounded, list with `-x`"
    );
}

#[test]
fn shortened_numbers_stand_for_what_iptables_shortens_to_them() {
    for (text, least, most) in [
        ("99999", 99_999, 99_999),
        ("100K", 100_000, 100_499),
        ("9999K", 9_998_500, 9_999_499),
        ("10M", 9_999_500, 10_499_499),
    ] {
        assert_eq!(
            CountRange::from_listing(text),
            Some(CountRange { least, most }),
            "{text}"
        );
    }
    for text in ["", "K", "1X", "-1", "1KK", "99999999999999999999"] {
        assert_eq!(CountRange::from_listing(text), None, "{text}");
    }
}

#[test]
fn a_text_of_rules_has_rules_to_its_end() {
    let error = read(&format!("{COMMANDS}iptables: oops\n"), "x", Family::V4).expect_err("no rule");
    assert_eq!(
        (error.line, error.message.as_str()),
        (28, "this line is no part of a rule set")
    );
    let error = read("hello\n", "x", Family::V4).expect_err("no rules");
    assert_eq!(error.message, "no rules found");
    let error = read("*natt\nCOMMIT\n", "x", Family::V4);
    let error = error
        .expect("a file of rules")
        .rules()
        .expect_err("no such table");
    assert_eq!(error.help.as_deref(), Some("did you mean `nat`?"));
}

#[test]
fn a_listing_without_interfaces_is_refused() {
    let text = "Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination\nACCEPT     all  --  anywhere             anywhere\n\n\
        Chain FORWARD (policy ACCEPT)\ntarget     prot opt source               destination\n\nChain OUTPUT (policy ACCEPT)\ntarget     prot opt source               destination\n";
    let error = document(text)
        .rules()
        .expect_err("rules could hide their interfaces");
    assert_eq!(
        error.message,
        "this listing leaves the interfaces of its rules out"
    );
    assert_eq!(error.help.as_deref(), Some("list with `iptables -L -v -n`"));
}

#[test]
fn the_table_of_a_listing_comes_from_its_command_its_targets_or_its_chains() {
    let table = |text: &str| {
        document(text)
            .rules()
            .map(|sets| sets[0].tables.keys().copied().collect())
    };
    let all = "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n";
    assert_eq!(table(all), Ok(vec![Table::Raw]));
    assert_eq!(
        table(&format!("$ iptables -t nat -S\n{all}")),
        Ok(vec![Table::Nat])
    );
    assert_eq!(
        table(&format!("{all}-A OUTPUT -p tcp -j REDIRECT --to-ports 1\n")),
        Ok(vec![Table::Nat])
    );
    assert_eq!(
        table("$ iptables -S\n-A INPUT -j ACCEPT\n"),
        Ok(vec![Table::Filter])
    );
    let error = table("-A OUTPUT -j ACCEPT\n").expect_err("any table has OUTPUT");
    assert_eq!(error.message, "cannot tell which table these rules are of");
}

#[test]
fn a_repeated_table_is_the_other_family() {
    let rules = "* nat\n-N A\n-A OUTPUT -j A\nCOMMIT\n* raw\nCOMMIT\n";
    let dumps = document(&rules.repeat(2)).dumps;
    assert_eq!(
        dumps.iter().map(|it| it.family).collect::<Vec<_>>(),
        [Family::V4, Family::V6]
    );
    let dumps = document(&format!("# Generated by ip6tables-save v1.8.4\n{rules}")).dumps;
    assert_eq!(dumps[0].family, Family::V6);
}

#[test]
fn what_only_a_listing_can_say_is_kept_and_flagged() {
    let head = "Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)\n pkts bytes target     prot opt in     out     source               destination\n";
    let rows = "\
    0     0 RETURN     all  --  *      *       0.0.0.0/0            0.0.0.0/0            limit: avg 5/sec burst 5 /* a b */
    0     0            tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:80 foo: bar
    0     0 NFQUEUE    tcp      *      *       0.0.0.0/0            0.0.0.0/0            NFQUEUE num 5
";
    let (_, rules) = only(&format!("# iptables -t nat -L -v -n\n{head}{rows}"));
    let printed: Vec<String> = rules
        .rules(Table::Nat)
        .map(|(id, rule)| spec_text(&id.chain, &rule.spec))
        .collect();
    assert_eq!(
        printed,
        [
            "-A OUTPUT -m listed --words \"limit: avg 5/sec burst 5 /* a b */\" -j RETURN",
            "-A OUTPUT -p tcp -m tcp --dport 80 -m listed --words \"foo: bar\"",
            "-A OUTPUT -p tcp -j NFQUEUE --listed \"NFQUEUE num 5\"",
        ]
    );
    assert!(
        rules
            .rules(Table::Nat)
            .all(|(_, rule)| !rule.spec.is_modelled())
    );
}

#[test]
fn a_complaint_about_a_row_points_into_it() {
    let text = "# iptables -t nat -L -v\nChain OUTPUT (policy ACCEPT 0 packets, 0 bytes)\n pkts bytes target     prot opt in     out     source               destination\n    0     0 RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:nosuchservice\n";
    let error = document(text).rules().expect_err("nobody knows the port");
    insta::assert_snapshot!(error, @r"
    x:4:94: `nosuchservice` is not a port: expected a number from 0 to 65535
       4 |     0     0 RETURN     tcp  --  any    any     anywhere             anywhere             tcp dpt:nosuchservice
         |                                                                                              ^^^^^^^^^^^^^^^^^
         = help: `iptables -L -v -n` lists numbers instead of names
    ");
}

fn command(family: Family, table: Table) -> String {
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("# {program} -t {table} -S\n")
}

#[test]
fn what_is_written_as_commands_or_as_a_listing_reads_back() {
    for family in [Family::V4, Family::V6] {
        let rules = istio(family);
        let head = command(family, Table::Nat);
        let (_, read) = only(&(head.clone() + &to_commands(&rules, Table::Nat)));
        assert_eq!(read, rules);
        let (_, read) = only(&(head + &list_verbose(&rules, Table::Nat)));
        assert_eq!(read.without_counters(), rules);
    }
}

#[test]
fn what_a_listing_rounded_is_listed_as_it_was() {
    let (_, rules) = only(LISTING);
    let listed = list_verbose(&rules, Table::Nat);
    assert!(listed.contains("Chain PREROUTING (policy ACCEPT 85821 packets, 5149K bytes)\n"));
    assert!(listed.contains("\n 138K 8253K ISTIO_OUTPUT "), "{listed}");
    let (_, again) = only(&format!("# iptables -t nat -L -v -n\n{listed}"));
    assert_eq!(again, rules);
}

#[test]
fn json_has_what_the_text_says_and_what_is_known_of_it() {
    let (_, rules) = only(LISTING);
    let json = to_json(&rules);
    let chain = &json["tables"][0]["chains"][2];
    assert_eq!(
        (&chain["name"], &chain["policy"]),
        (&"OUTPUT".into(), &"ACCEPT".into())
    );
    insta::assert_snapshot!(chain["rules"][0], @r#"{"counters":{"bytes":{"least":8252500,"most":8253499},"packets":{"least":137500,"most":138499}},"id":"ipv4 nat OUTPUT 1","modelled":true,"target":"ISTIO_OUTPUT","text":"-A OUTPUT -p tcp -j ISTIO_OUTPUT"}"#);
}

#[test]
fn a_listing_for_people_says_what_each_rule_does() {
    let text = annotated(&istio(Family::V4));
    let (_, from) = text
        .split_once("ISTIO_IN_REDIRECT, ")
        .expect("the chain is listed");
    let some: Vec<&str> = from.lines().take(11).collect();
    insta::assert_snapshot!(some.join("\n"), @r"
    entered by 3 rules
      1  -p tcp -j REDIRECT --to-ports 15006
         tcp: turned to port 15006 of this machine

    ISTIO_OUTPUT, entered by 1 rule
      1  -s 127.0.0.6/32 -o lo -j RETURN
         from 127.0.0.6/32, out by lo: back to where the chain was entered
      2  ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
         not to 127.0.0.1/32, out by lo, sent by user 1337: asks ISTIO_IN_REDIRECT
      3  -o lo -m owner ! --uid-owner 1337 -j RETURN
         out by lo, not sent by user 1337: back to where the chain was entered
    ");
}

#[test]
fn a_listing_ends_at_the_next_command_of_a_terminal_session() {
    let filter = "Chain INPUT (policy ACCEPT 0 packets, 0 bytes)\n pkts bytes target prot opt in out source destination\n";
    let text = format!("$ iptables -t filter -L -v\n{filter}$ iptables -t nat -L -v\n{LISTING}");
    let document = read(&text, "session", Family::V4).expect("both are found");
    let tables: Vec<Table> = document
        .rules()
        .expect("both are readable")
        .iter()
        .flat_map(|set| set.tables.keys().copied())
        .collect();
    assert_eq!(tables, [Table::Nat, Table::Filter]);
}
