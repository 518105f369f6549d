use super::*;

#[test]
fn a_table_is_listed_as_iptables_lists_it() {
    let text = "\
*nat
:PREROUTING ACCEPT [85821:5149260]
:OUTPUT ACCEPT [86721:5381000]
:ISTIO_INBOUND - [0:0]
:ISTIO_OUTPUT - [0:0]
[85873:5152000] -A PREROUTING -p tcp -j ISTIO_INBOUND
[137543:8252580] -A OUTPUT ! -i eth+ -j ISTIO_OUTPUT
[85820:5149200] -A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
[52:2704] -A ISTIO_INBOUND ! -p udp -g ISTIO_OUTPUT
[0:0] -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ACCEPT
[22906:1374360] -A ISTIO_OUTPUT -s 10.0.0.0/8 -o lo -m owner ! --uid-owner 1337 -m comment --comment \"a b\" -j RETURN
[99999:100000] -A ISTIO_OUTPUT -p tcp -m tcp --sport 5 ! --dport 6:7 -j REDIRECT --to-ports 15006
[9999499:9999500] -A ISTIO_OUTPUT -m limit --limit 5/sec -j LOG --log-level 7
COMMIT
";
    let set = parse(text, Family::V4, "dump").unwrap_or_else(|error| panic!("{error}"));
    insta::assert_snapshot!(list_verbose(&set, Table::Nat), @r"
    Chain PREROUTING (policy ACCEPT 85821 packets, 5149K bytes)
     pkts bytes target     prot opt in     out     source               destination
    85873 5152K ISTIO_INBOUND  tcp  --  *      *       0.0.0.0/0            0.0.0.0/0

    Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
     pkts bytes target     prot opt in     out     source               destination

    Chain OUTPUT (policy ACCEPT 86721 packets, 5381K bytes)
     pkts bytes target     prot opt in     out     source               destination
     138K 8253K ISTIO_OUTPUT  all  --  !eth+  *       0.0.0.0/0            0.0.0.0/0

    Chain POSTROUTING (policy ACCEPT 0 packets, 0 bytes)
     pkts bytes target     prot opt in     out     source               destination

    Chain ISTIO_INBOUND (1 references)
     pkts bytes target     prot opt in     out     source               destination
    85820 5149K RETURN     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:15021
       52  2704 ISTIO_OUTPUT !udp  --  *      *       0.0.0.0/0            0.0.0.0/0           [goto]

    Chain ISTIO_OUTPUT (2 references)
     pkts bytes target     prot opt in     out     source               destination
        0     0 ACCEPT     all  --  *      lo      0.0.0.0/0           !127.0.0.1            owner UID match 1337
    22906 1374K RETURN     all  --  *      lo      10.0.0.0/8           0.0.0.0/0            ! owner UID match 1337 /* a b */
    99999  100K REDIRECT   tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp spt:5 dpts:!6:7 redir ports 15006
    9999K   10M LOG        all  --  *      *       0.0.0.0/0            0.0.0.0/0            limit --limit 5/sec LOG flags 0 level 7
    ");
    assert_eq!(list_verbose(&set, Table::Raw), "");
}
