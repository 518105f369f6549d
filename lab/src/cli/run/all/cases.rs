//! The cases that were asked for, in an order that is the same every time.

use std::{collections::BTreeMap, path::Path};

use crate::{
    LabFile,
    cli::{
        lab_files,
        run::{Args, rules::configurations},
    },
    failure::{Class, Failure},
    netfilter::BackendChoice,
    suite::{self, Case},
};

/// The lab that configurations and profiles run on.
const BOOKINFO: &str = "bookinfo";

/// Every file is read before the first lab is up: one that is wrong is told at once.
///
/// # Errors
/// A file that can't be read, or nothing to run.
pub(super) fn wanted(args: &Args) -> Result<Vec<Case>, Failure> {
    let mut all = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for path in lab_files::of(Path::new(&args.lab))? {
        let name = path.to_string_lossy().into_owned();
        let file = LabFile::open(&name)?;
        if let Some(other) = names.insert(file.topology.name.clone(), name.clone()) {
            return Err(of_one_name(&file.topology.name, &other, &name));
        }
        all.extend(suite::cases(&name, &file));
    }
    let suite = &args.suite;
    for path in &suite.configurations {
        let list = path.to_string_lossy().into_owned();
        let configurations = configurations(path)?;
        let bookinfo = LabFile::open(BOOKINFO)?;
        let configurations = (list.as_str(), &configurations[..]);
        all.extend(suite::under_configurations(
            BOOKINFO,
            &bookinfo,
            configurations,
        ));
    }
    if suite.profiles {
        let (cases, others) = suite::under_profiles(BOOKINFO, &LabFile::open(BOOKINFO)?);
        all.extend(cases);
        for it in others {
            let why = it.causes.first().map_or("", String::as_str);
            anstream::eprintln!("note: {}: {why}", it.what);
        }
    }
    all.retain(|it| is_wanted(args, it));
    let mut place = 0..;
    all.retain(|it| {
        let place = place.next().unwrap_or_default();
        let name = it.name.to_string();
        suite.partition.is_none_or(|share| share.has(place, &name))
    });
    match (all.is_empty(), suite.partition) {
        (false, _) => Ok(all),
        (true, Some(_)) => Err(Failure::new(Class::Input, "this share has no case")
            .hint("there are fewer cases than shares")),
        (true, None) => Err(
            Failure::new(Class::Input, format!("no lab of {} runs so", args.lab)).hint(
                "leave --backend and --family out: each lab then runs in every way it makes sense",
            ),
        ),
    }
}

/// Tables, reports, rounds and folders of evidence tell cases apart by the names of their labs.
fn of_one_name(lab: &str, one: &str, other: &str) -> Failure {
    Failure::new(Class::Input, format!("two labs have the name `{lab}`"))
        .cause(format!("{one} and {other}"))
        .hint("give one another `name`: results and folders of --out are called by it")
}

fn is_wanted(args: &Args, case: &Case) -> bool {
    let backend = match args.rules.backend() {
        BackendChoice::Auto => true,
        BackendChoice::Fixed(only) => case.name.backend == only.into(),
    };
    let family = args.rules.family();
    backend && family.is_none_or(|only| only == case.name.family)
}
