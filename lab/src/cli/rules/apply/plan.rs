//! What `hoplab rules apply` is to do, from its flags.

use super::{Args, How};
use crate::{
    apply::{ApplyPlan, CallPlan, Manner},
    behaviour::Stage,
    cli::{
        istio::{host, injected},
        source::{self, Given, Source},
    },
    failure::{Class, Failure},
    interception::Interception,
    istio::{self, Config, Release, Settings, Warning, nft, routes::Step},
    lab_file::FIRST_NAMED_ID,
    netfilter::BackendChoice,
    profiles::Rules,
    rules::{Family, OwnerNames, RuleSet, Written},
};

/// Port that is called, unless rules turn calls to it.
const CALLED: [u16; 2] = [9080, 9081];

pub(super) fn plan(args: &Args) -> Result<ApplyPlan, Failure> {
    let before = match &args.over {
        Some(source) => texts(source)?,
        None => Written::default(),
    };
    let mut routes = Vec::new();
    let (before, meant, manner) = match &args.rules {
        Some(source) => {
            no_flags(args)?;
            let meant = texts(source)?;
            let manner = match (meant.is_nft(), args.manner) {
                (true, How::Restore) => Manner::Native {
                    cleanup_only: false,
                },
                (true, _) => {
                    let what = "rules of nft's own are applied in one transaction";
                    return Err(Failure::new(Class::Input, what).hint("leave --manner out"));
                }
                (false, How::Restore) => Manner::Restore,
                (false, How::OneByOne) => Manner::OneByOne,
                (false, How::CleanFirst) => Manner::CleanFirst,
            };
            (before, meant, manner)
        }
        None => {
            let (settings, config) = configuration(args)?;
            let release = args.istio.unwrap_or_default();
            let written = |release| rendered(&settings, &config, release);
            let over = args.over_istio.map(written).transpose()?;
            let manner = manner(&settings, release)?;
            if !settings.cleanup_only && !settings.native_nftables {
                // The address of lo is nothing that piles up.
                let beside = istio::routes::sidecar(&config).into_iter();
                routes.extend(beside.filter(|it| !matches!(it, Step::LoopbackAddress(_))));
            }
            (over.unwrap_or(before), written(release)?, manner)
        }
    };
    one_language(&before, &meant, args.backend)?;
    let mut sets: Vec<RuleSet> = Vec::new();
    for family in [Family::V4, Family::V6] {
        for texts in [&before, &meant] {
            let set = texts.rules(family, "the rules");
            sets.extend(set.map_err(|e| Failure::new(Class::Input, e.to_string()))?);
        }
    }
    if args.detect && meant.is_nft() {
        let what = "istio-init looks for no backend when the rules are nft's own";
        return Err(Failure::new(Class::Input, what).hint("leave --detect out"));
    }
    let proxy = Interception::of_rules(&sets).inbound;
    let app = CALLED.into_iter().find(|port| *port != proxy);
    let calls = app.filter(|_| args.calls).map(|app| CallPlan {
        stage: Stage::away_from(&sets),
        app,
        proxy,
    });
    Ok(ApplyPlan {
        routes,
        detect: args.detect,
        calls,
        backend: args.backend,
        names: OwnerNames::of(&sets, FIRST_NAMED_ID),
        before,
        meant,
        times: args.times,
        manner,
    })
}

/// A pod here has rules of iptables or of nft, and nft needs no backend.
fn one_language(before: &Written, meant: &Written, backend: BackendChoice) -> Result<(), Failure> {
    if !before.is_empty() && before.is_nft() != meant.is_nft() {
        let what = "rules of iptables do not go with rules of nft's own";
        return Err(Failure::new(Class::Input, what)
            .cause("the pod has one or the other here, since each sees only its own")
            .hint("give both in one language; `hoplab rules render` writes either"));
    }
    match backend {
        BackendChoice::Fixed(asked) if meant.is_nft() => {
            let what =
                format!("the backend {asked} of iptables does not go with rules of nft's own");
            Err(Failure::new(Class::Input, what).hint("leave --backend out"))
        }
        _ => Ok(()),
    }
}

fn no_flags(args: &Args) -> Result<(), Failure> {
    let flag = args
        .flags
        .pairs()
        .next()
        .map(|(flag, _)| format!("--{}", flag.name));
    let pod = args
        .pod
        .are_given()
        .then(|| "a pod or its annotations".to_owned());
    match flag.or(pod) {
        None => Ok(()),
        Some(what) => Err(
            Failure::new(Class::Input, format!("--rules does not go with {what}"))
                .cause("given rules are applied as they are")
                .hint("leave one of them out"),
        ),
    }
}

fn configuration(args: &Args) -> Result<(Settings, Config), Failure> {
    let mut warnings = Vec::new();
    let settings = injected(&args.pod, &args.flags, &mut warnings)?;
    let settings = settings.ok_or_else(|| {
        let why = warnings.pop().map(|it| it.to_string());
        Failure::new(Class::Input, "there are no rules to apply").cause(why.unwrap_or_default())
    })?;
    let host = host::look(&settings, args.dns_servers.as_deref(), args.ipv6)?;
    let config = Config::new(&settings, &host, &mut warnings)?;
    // That --cleanup-only installs nothing is what is shown here.
    let shown = warnings
        .iter()
        .filter(|it| !matches!(it, Warning::NotInstalled(_)));
    for warning in shown {
        anstream::eprintln!("warning: {warning}");
    }
    Ok((settings, config))
}

fn manner(settings: &Settings, release: Release) -> Result<Manner, Failure> {
    let asked = [
        (settings.reconcile, "--reconcile"),
        (settings.force_apply, "--force-apply"),
        (settings.cleanup_only, "--cleanup-only"),
    ];
    if settings.native_nftables {
        // The last one is known to take all tables away.
        return match asked[..2].iter().find(|(given, _)| *given) {
            None => Ok(Manner::Native {
                cleanup_only: settings.cleanup_only,
            }),
            Some((_, flag)) => Err(Failure::new(
                Class::Input,
                format!("what Istio does with {flag} and native nft rules is not known here"),
            )
            .hint("leave one of them out")),
        };
    }
    if release.looks_before_it_applies() {
        return Ok(Manner::Checked {
            reconcile: settings.reconcile,
            force: settings.force_apply,
            cleanup_only: settings.cleanup_only,
        });
    }
    match asked.iter().find(|(given, _)| *given) {
        None => Ok(Manner::Restore),
        Some((_, flag)) => Err(Failure::new(
            Class::Input,
            format!("Istio {release} has no {flag}"),
        )
        .hint("ask for 1.24 or newer")),
    }
}

fn rendered(settings: &Settings, config: &Config, release: Release) -> Result<Written, Failure> {
    if settings.native_nftables {
        if !release.has_sidecar_nftables() {
            let what = format!("Istio {release} writes no nft rules");
            return Err(Failure::new(Class::Input, what).hint("ask for 1.27 or newer"));
        }
        let (layout, rules) = nft::sidecar(config);
        return Ok(Written::Nft {
            nft: nft::transaction(layout, &rules),
        });
    }
    let rules = istio::iptables(config, release);
    let families = [Family::V4, Family::V6].into_iter();
    let texts = families.map(|family| (family, istio::restore(&rules, family)));
    let texts = texts.filter(|(_, text)| !text.is_empty());
    Ok(Written::Iptables(texts.collect()))
}

fn texts(source: &Source) -> Result<Written, Failure> {
    let profile = match source::given(source, Family::V4)? {
        Given::Rules(rules) => return Ok(rules.into_texts()),
        Given::Profile(profile) => profile,
    };
    Ok(match profile.rules {
        Rules::Nft(nft) => Written::Nft { nft },
        Rules::Iptables { v4, v6 } => {
            let v6 = v6.map(|text| (Family::V6, text));
            Written::Iptables([(Family::V4, v4)].into_iter().chain(v6).collect())
        }
    })
}
