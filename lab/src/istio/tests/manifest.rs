//! Pods out of manifests.

use rstest::rstest;

use crate::istio::annotations::pod_from_manifest;

const POD: &str = "\
apiVersion: v1
kind: Service
metadata: {name: other}
---
apiVersion: v1
kind: Pod
metadata:
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: \"5432\"
    proxy.istio.io/config: |
      proxyMetadata:
        ISTIO_META_DNS_CAPTURE: \"true\"
  labels:
    sidecar.istio.io/inject: \"false\"
spec:
  containers:
  - name: app
    env: [{name: INVALID_DROP, value: \"true\"}]
  initContainers:
  - name: istio-proxy
    securityContext: {runAsUser: 0, runAsGroup: 1337}
    env:
    - {name: ISTIO_DUAL_STACK, value: \"true\"}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
";

#[test]
fn annotations_labels_and_the_proxys_container_are_read() {
    let pod = pod_from_manifest("pod.yaml", POD).unwrap();
    assert_eq!(
        pod.annotations["traffic.sidecar.istio.io/excludeOutboundPorts"],
        "5432"
    );
    assert_eq!(
        pod.proxy_env.keys().collect::<Vec<_>>(),
        ["ISTIO_DUAL_STACK", "ISTIO_META_DNS_CAPTURE"]
    );
    assert_eq!((pod.run_as_user, pod.run_as_group), (Some(0), Some(1337)));
    assert_eq!(
        pod.left_alone().unwrap(),
        "sidecar.istio.io/inject is `false`"
    );
}

#[rstest]
#[case("kind: Deployment\nspec: {template: {spec: {hostNetwork: true}}}")]
#[case("kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {hostNetwork: true}}}}}")]
fn pod_templates_count_as_pods(#[case] text: &str) {
    let pod = pod_from_manifest("x.yaml", text).unwrap();
    assert_eq!(pod.left_alone().unwrap(), "it uses the node's network");
}

#[test]
fn a_number_as_annotation_is_shown_where_it_stands() {
    let text = "kind: Pod\nmetadata:\n  annotations:\n    traffic.sidecar.istio.io/excludeOutboundPorts: 5432\n";
    let error = pod_from_manifest("pod.yaml", text).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "pod.yaml:4:52: `traffic.sidecar.istio.io/excludeOutboundPorts` is no text"
        ),
        "{error}"
    );
    assert!(error.ends_with("= help: put it in quotes"), "{error}");
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    let error = pod_from_manifest("pod.yaml", "kind: Pod\nmetadata: {a: [}\n")
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("pod.yaml:2:"), "{error}");
}

#[rstest]
#[case("")]
#[case("kind: Service")]
#[case("- 1")]
fn a_manifest_without_a_pod_says_so(#[case] text: &str) {
    let error = pod_from_manifest("x.yaml", text).unwrap_err().to_string();
    assert_eq!(
        error,
        "x.yaml holds no pod: no document has `kind: Pod` or a pod template"
    );
}

#[test]
fn of_several_pods_none_is_chosen_in_silence() {
    let text = "kind: Pod\nmetadata: {name: a}\n---\nkind: Service\n---\nkind: Deployment\nspec: {template: {}}\n";
    let error = pod_from_manifest("x.yaml", text).unwrap_err().to_string();
    assert_eq!(
        error,
        "x.yaml holds 2 pods: a (line 1), one without a name (line 6)"
    );
}

#[test]
fn the_items_of_a_list_are_objects_of_their_own() {
    let pod = "- kind: Pod\n  metadata: {name: a}\n  spec: {hostNetwork: true}\n";
    let list = format!("kind: List\nitems:\n- kind: Service\n{pod}");
    assert!(pod_from_manifest("x.yaml", &list).unwrap().host_network);
    let error = pod_from_manifest("x.yaml", &(list + pod)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.yaml holds 2 pods: a (line 4), a (line 7)"
    );
}

#[test]
fn an_annotation_about_traffic_that_istio_does_not_know_is_found() {
    let text = "kind: Pod\nmetadata:\n  annotations:\n    traffic.sidecar.istio.io/excludeInboundPort: \"1\"\n    example.org/other: \"1\"\n";
    let pod = pod_from_manifest("x.yaml", text).unwrap();
    let unknown: Vec<&str> = pod.unknown_annotations().collect();
    assert_eq!(unknown, ["traffic.sidecar.istio.io/excludeInboundPort"]);
}
