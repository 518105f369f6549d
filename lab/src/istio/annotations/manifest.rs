//! Reads what injection looks at out of a pod manifest, or of a manifest with a pod template.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Marker};
use thiserror::Error;

use super::{PROXY_CONFIG, Pod};
use crate::{
    diagnostic::Diagnostic,
    failure::{Class, Explain},
    istio::BadValue,
};

/// A manifest no pod can be read from.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A place in the text is wrong.
    #[error("{0}")]
    Text(Box<Diagnostic>),
    /// No document is a pod or has a pod template.
    #[error("{origin} holds no pod: no document has `kind: Pod` or a pod template")]
    NoPod {
        /// File or other origin of the text.
        origin: String,
    },
    /// Several documents are pods or have a pod template, and rules are those of one.
    #[error("{origin} holds {} pods: {}", pods.len(), pods.join(", "))]
    SeveralPods {
        /// File or other origin of the text.
        origin: String,
        /// Their names and lines.
        pods: Vec<String>,
    },
    /// An annotation is wrong.
    #[error(transparent)]
    Annotation(#[from] BadValue),
}

impl Explain for ManifestError {
    fn class(&self) -> Class {
        Class::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(_) => None,
            Self::NoPod { .. } => {
                Some("give a Pod, or a Deployment, StatefulSet, Job or the like".to_owned())
            }
            Self::SeveralPods { .. } => Some("give a manifest with one of them".to_owned()),
            Self::Annotation(bad) => bad.hint(),
        }
    }
}

/// The pod, or pod template, of a manifest with any number of documents and lists of them.
///
/// # Errors
/// The text is no YAML, has no pod or several, or something injection looks at is not what Kubernetes takes.
pub fn pod_from_manifest(origin: &str, text: &str) -> Result<Pod, ManifestError> {
    let reader = Reader { origin, text };
    let documents = MarkedYaml::load_from_str(text)
        .map_err(|e| reader.complaint(*e.marker(), 1, format!("this is no YAML: {}", e.info())))?;
    let objects = documents.iter().flat_map(objects);
    let pods: Vec<_> = objects.filter_map(|it| Some((it, pod_node(it)?))).collect();
    let origin = origin.to_owned();
    match pods.as_slice() {
        [] => Err(ManifestError::NoPod { origin }),
        [(_, pod)] => reader.pod(pod),
        several => {
            let pods = several.iter().map(|(object, _)| title(object)).collect();
            Err(ManifestError::SeveralPods { origin, pods })
        }
    }
}

/// The objects of a document: itself, or the items of a `kind: List`, as `kubectl get` prints several.
fn objects<'a, 'i>(document: &'a MarkedYaml<'i>) -> Vec<&'a MarkedYaml<'i>> {
    match get(document, "items").and_then(|it| it.data.as_vec()) {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

/// `reviews-v1 (line 12)`
fn title(object: &MarkedYaml<'_>) -> String {
    let name = get(object, "metadata").and_then(|it| get(it, "name"));
    let name = name
        .and_then(|it| it.data.as_str())
        .unwrap_or("one without a name");
    format!("{name} (line {})", object.span.start.line())
}

/// The node with the pod's `metadata` and `spec`.
fn pod_node<'a, 'i>(document: &'a MarkedYaml<'i>) -> Option<&'a MarkedYaml<'i>> {
    if get(document, "kind").and_then(|kind| kind.data.as_str()) == Some("Pod") {
        return Some(document);
    }
    let spec = get(document, "spec")?;
    let job = || get(get(get(spec, "jobTemplate")?, "spec")?, "template");
    get(spec, "template").or_else(job)
}

fn get<'a, 'i>(node: &'a MarkedYaml<'i>, key: &str) -> Option<&'a MarkedYaml<'i>> {
    node.data
        .as_mapping_get(key)
        .filter(|value| !value.data.is_null())
}

struct Reader<'t> {
    origin: &'t str,
    text: &'t str,
}

impl Reader<'_> {
    fn pod(&self, node: &MarkedYaml<'_>) -> Result<Pod, ManifestError> {
        let mut pod = Pod::default();
        if let Some(metadata) = get(node, "metadata") {
            pod.labels = self.texts(metadata, "labels")?;
            for (name, value) in self.texts(metadata, "annotations")? {
                pod.annotate(&name, &value)?;
            }
        }
        let Some(spec) = get(node, "spec") else {
            return Ok(pod);
        };
        pod.host_network = get(spec, "hostNetwork")
            .and_then(|it| it.data.as_bool())
            .unwrap_or(false);
        // A native sidecar is an init container.
        for list in ["containers", "initContainers"] {
            for container in get(spec, list)
                .and_then(|it| it.data.as_vec())
                .into_iter()
                .flatten()
            {
                if get(container, "name").and_then(|it| it.data.as_str()) == Some("istio-proxy") {
                    self.proxy(container, &mut pod)?;
                }
            }
        }
        Ok(pod)
    }

    fn proxy(&self, container: &MarkedYaml<'_>, pod: &mut Pod) -> Result<(), ManifestError> {
        for variable in get(container, "env")
            .and_then(|it| it.data.as_vec())
            .into_iter()
            .flatten()
        {
            // A variable with `valueFrom` has no value here, and none is needed for rules.
            if let (Some(name), Some(value)) = (get(variable, "name"), get(variable, "value")) {
                let (name, value) = (self.string(name, "a name")?, self.string(value, "a value")?);
                pod.proxy_env.insert(name, value);
            }
        }
        if let Some(context) = get(container, "securityContext") {
            pod.run_as_user = self.id(context, "runAsUser")?;
            pod.run_as_group = self.id(context, "runAsGroup")?;
        }
        Ok(())
    }

    fn texts(
        &self,
        node: &MarkedYaml<'_>,
        key: &str,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let Some(node) = get(node, key) else {
            return Ok(BTreeMap::new());
        };
        let Some(entries) = node.data.as_mapping() else {
            return Err(self.wrong(node, format!("`{key}` is no mapping of names to texts")));
        };
        let entry = |(name, value)| {
            let name = self.string(name, "a name")?;
            let value = self.string(value, &format!("`{name}`"))?;
            Ok((name, value))
        };
        entries.iter().map(entry).collect()
    }

    fn string(&self, node: &MarkedYaml<'_>, what: &str) -> Result<String, ManifestError> {
        node.data.as_str().map(str::to_owned).ok_or_else(|| {
            let complaint = self.at(
                node,
                format!("{what} is no text, and Kubernetes takes nothing else"),
            );
            ManifestError::Text(Box::new(complaint.help("put it in quotes")))
        })
    }

    fn id(&self, node: &MarkedYaml<'_>, key: &str) -> Result<Option<u32>, ManifestError> {
        let Some(node) = get(node, key) else {
            return Ok(None);
        };
        let id = node.data.as_integer().and_then(|id| u32::try_from(id).ok());
        id.map(Some)
            .ok_or_else(|| self.wrong(node, format!("`{key}` is no user or group id")))
    }

    fn wrong(&self, node: &MarkedYaml<'_>, message: String) -> ManifestError {
        ManifestError::Text(Box::new(self.at(node, message)))
    }

    fn at(&self, node: &MarkedYaml<'_>, message: String) -> Diagnostic {
        let on_one_line = node.span.start.line() == node.span.end.line();
        let width = if on_one_line { node.span.len() } else { 1 };
        self.diagnostic(node.span.start, width, message)
    }

    fn complaint(&self, place: Marker, width: usize, message: String) -> ManifestError {
        ManifestError::Text(Box::new(self.diagnostic(place, width, message)))
    }

    fn diagnostic(&self, place: Marker, width: usize, message: String) -> Diagnostic {
        let line = place.line().saturating_sub(1);
        let before: usize = self
            .text
            .split_inclusive('\n')
            .take(line)
            .map(str::len)
            .sum();
        let inside: usize = self.text[before..]
            .chars()
            .take(place.col())
            .map(char::len_utf8)
            .sum();
        let start = before + inside;
        Diagnostic::at(self.origin, self.text, start..start + width, message)
    }
}

/// What `proxy.istio.io/config` says about rules: variables of the proxy, and the interception mode.
pub(super) fn read_proxy_config(text: &str, pod: &mut Pod) -> Result<(), String> {
    let reader = Reader {
        origin: PROXY_CONFIG,
        text,
    };
    let documents = MarkedYaml::load_from_str(text).map_err(|e| format!("it is no YAML: {e}"))?;
    let Some(config) = documents.first() else {
        return Ok(());
    };
    let metadata = reader
        .texts(config, "proxyMetadata")
        .map_err(|e| e.to_string())?;
    pod.proxy_env.extend(metadata);
    if let Some(mode) = get(config, "interceptionMode") {
        pod.interception_mode = Some(
            reader
                .string(mode, "`interceptionMode`")
                .map_err(|e| e.to_string())?,
        );
    }
    Ok(())
}
