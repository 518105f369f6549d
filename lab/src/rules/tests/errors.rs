use super::*;

/// Checks place, message and suggestion of the complaint about lines in nat after `-N SUB`.
#[track_caller]
fn refused(line: &str, column: usize, message: &str, suggestion: Option<&str>) {
    let error = nat(&format!("{line}\n")).expect_err("the line is wrong");
    let got = (
        error.line,
        error.column,
        error.message.as_str(),
        error.help.as_deref(),
    );
    assert_eq!(got, (3, column, message, suggestion));
}

#[test]
fn an_error_shows_the_line_and_the_word() {
    let error = nat("-A PREROUTING -p tcp -j SUBX\n").expect_err("no such chain");
    insta::assert_snapshot!(error, @r"
    x.rules:3:25: chain `SUBX` does not exist
       3 | -A PREROUTING -p tcp -j SUBX
         |                         ^^^^
         = help: did you mean `SUB`?
    ");
}

#[test]
fn a_jump_to_a_misspelt_target_names_the_target() {
    refused(
        "-A OUTPUT -j RETRUN",
        14,
        "chain `RETRUN` does not exist",
        Some("did you mean `RETURN`?"),
    );
}

#[test]
fn a_jump_to_a_builtin_chain_is_refused() {
    refused(
        "-A OUTPUT -j INPUT",
        14,
        "a rule cannot jump to the built-in chain `INPUT`",
        None,
    );
}

#[test]
fn a_rule_for_an_unknown_chain_is_refused() {
    let message = "chain `OUTPUTT` does not exist in table `nat`";
    refused(
        "-A OUTPUTT -j ACCEPT",
        4,
        message,
        Some("did you mean `OUTPUT`?"),
    );
}

#[test]
fn broken_values_are_named() {
    refused(
        "-A OUTPUT -p tcp --dport http",
        26,
        "`http` is not a port: expected a number from 0 to 65535",
        None,
    );
    refused(
        "-A OUTPUT -p tcp --dport 65536",
        26,
        "`65536` is not a port: expected a number from 0 to 65535",
        None,
    );
    refused(
        "-A OUTPUT -p tcp --dport 9:8",
        26,
        "`9:8` is not a port: the range is upside down",
        None,
    );
    let message = "`1.2.3` is not an address: expected numbers, such as 10.0.0.0/8 or fd00::/8";
    refused("-A OUTPUT -d 1.2.3", 14, message, None);
    refused(
        "-A OUTPUT -d 1.2.3.4/33",
        14,
        "`1.2.3.4/33` is not an address: the prefix is too long",
        None,
    );
    refused(
        "-A OUTPUT -d ::1/128",
        14,
        "address `::1/128` is IPv6, these rules are IPv4",
        None,
    );
    refused("-A OUTPUT -p tpc", 14, "unknown protocol `tpc`", None);
    refused(
        "-A OUTPUT -m mark --mark 0x",
        26,
        "`0x` is not a mark such as 0x1 or 0x1/0xff",
        None,
    );
    let message = "unknown connection state `NEWW`";
    refused(
        "-A OUTPUT -m conntrack --ctstate NEWW",
        34,
        message,
        Some("did you mean `NEW`?"),
    );
}

#[test]
fn missing_values_are_named() {
    refused("-A OUTPUT -j", 11, "`-j` needs a value", None);
    refused("-A OUTPUT -s -j ACCEPT", 11, "`-s` needs a value", None);
    refused(
        "-A OUTPUT -p tcp -j REDIRECT --to-ports",
        30,
        "`--to-ports` needs a value",
        None,
    );
    refused("-A", 1, "`-A` needs a chain", None);
    refused(
        "-A OUTPUT !",
        11,
        "`!` negates the option after it, and there is none",
        None,
    );
}

#[test]
fn options_out_of_place_are_refused() {
    refused(
        "-A OUTPUT --dport 80",
        11,
        "`--dport` needs `-p tcp` or `-p udp` before it",
        None,
    );
    refused(
        "-A OUTPUT --uid-owner 1337",
        11,
        "`--uid-owner` needs `-m owner` before it",
        None,
    );
    refused(
        "-A OUTPUT -m owner --uid-owner 1 --dports 53 -m multiport --dports 54",
        34,
        "`--dports` needs `-m multiport` before it",
        None,
    );
    refused("-A OUTPUT -p tcp -p udp", 18, "`-p` is given twice", None);
    refused(
        "-A OUTPUT -t nat",
        11,
        "a rule file names its table in the `*` line, not with `-t`",
        None,
    );
    refused("-A OUTPUT -x", 11, "unknown option `-x`", None);
    refused("-A OUTPUT ! -j ACCEPT", 11, "`-j` cannot be negated", None);
    refused(
        "-A OUTPUT -p tcp --dport ! 80",
        18,
        "`--dport` needs a value",
        None,
    );
    refused(
        "-A OUTPUT -j REDIRECT --to-ports 1",
        23,
        "redirecting to a port needs `-p tcp` or `-p udp`",
        None,
    );
    refused(
        "-A OUTPUT -m owner",
        1,
        "`-m owner` is loaded and none of its options is given",
        None,
    );
    refused(
        "-D OUTPUT 1",
        1,
        "`-D` is not a line of a rule set",
        Some("did you mean `-A`?"),
    );
    refused(
        "-I OUTPUT 2 -j ACCEPT",
        11,
        "cannot insert here: `OUTPUT` has 0 rules",
        None,
    );
}

#[test]
fn an_unclosed_quote_is_shown_where_it_opens() {
    refused(
        "-A OUTPUT -m comment --comment \"a b",
        32,
        "this quote is never closed",
        None,
    );
}

#[test]
fn chains_are_declared_once_under_names_the_kernel_takes() {
    refused("-N SUB", 4, "chain `SUB` already exists", None);
    refused(
        "-N MASQUERADE",
        4,
        "`MASQUERADE` is a target, it cannot name a chain",
        None,
    );
    let long = "X".repeat(29);
    refused(
        &format!("-N {long}"),
        4,
        "a chain name has at most 28 bytes",
        None,
    );
}

#[track_caller]
fn refused_file(text: &str, line: usize, message: &str) {
    let error = parse(text, Family::V4, "x.rules").expect_err("the file is wrong");
    assert_eq!((error.line, error.message.as_str()), (line, message));
}

#[test]
fn tables_must_be_known_opened_and_committed() {
    refused_file("*natt\nCOMMIT\n", 1, "there is no table `natt`");
    refused_file(
        "*nat\n-A OUTPUT -j ACCEPT\n",
        1,
        "table `nat` has no COMMIT",
    );
    refused_file(
        "*nat\n*raw\nCOMMIT\n",
        2,
        "table `nat` of line 1 has no COMMIT yet",
    );
    let outside = "this line stands outside a table; a table starts with a line such as `*nat`";
    refused_file("-A OUTPUT -j ACCEPT\n", 1, outside);
    refused_file("*nat\nCOMMIT\n:OUTPUT ACCEPT\n", 3, outside);
}
