//! What `istio-iptables` was told, before anyone asks what it means: one field per setting, named and defaulted as in
//! Istio's own configuration, and the precedence between variables and flags.

use std::{collections::BTreeMap, time::Duration};

use super::{
    BadValue, Warning,
    flags::{FLAGS, Flag},
};

/// Variables by name, as far as they are set. A variable set to nothing is set.
pub type Environment = BTreeMap<String, String>;

/// Every setting of `istio-iptables`, as text where Istio keeps text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are Istio's; what each one does is said in the flag table"
)]
pub struct Settings {
    pub proxy_port: String,
    pub inbound_capture_port: String,
    pub inbound_tunnel_port: String,
    pub proxy_uid: String,
    pub proxy_gid: String,
    pub inbound_interception_mode: String,
    pub inbound_tproxy_mark: String,
    pub inbound_tproxy_route_table: String,
    pub inbound_ports_include: String,
    pub inbound_ports_exclude: String,
    pub exclude_interfaces: String,
    pub outbound_ip_ranges_include: String,
    pub outbound_ip_ranges_exclude: String,
    pub outbound_ports_include: String,
    pub outbound_ports_exclude: String,
    pub reroute_virtual_interfaces: String,
    pub redirect_dns: bool,
    pub capture_all_dns: bool,
    pub drop_invalid: bool,
    pub dual_stack: bool,
    pub network_namespace: String,
    pub cni_mode: bool,
    pub reconcile: bool,
    pub cleanup_only: bool,
    pub force_apply: bool,
    pub skip_rule_apply: bool,
    pub run_validation: bool,
    pub iptables_probe_port: u16,
    pub probe_timeout: Duration,
    pub dry_run: bool,
    pub native_nftables: bool,
    pub force_iptables_binary: String,
    pub owner_groups_include: String,
    pub owner_groups_exclude: String,
    pub host_ipv4_loopback_cidr: String,
    pub envoy_user: String,
}

impl Default for Settings {
    fn default() -> Self {
        let none = String::new;
        Self {
            proxy_port: "15001".into(),
            inbound_capture_port: "15006".into(),
            inbound_tunnel_port: "15008".into(),
            proxy_uid: none(),
            proxy_gid: none(),
            inbound_interception_mode: none(),
            inbound_tproxy_mark: "1337".into(),
            inbound_tproxy_route_table: "133".into(),
            inbound_ports_include: none(),
            inbound_ports_exclude: none(),
            exclude_interfaces: none(),
            outbound_ip_ranges_include: none(),
            outbound_ip_ranges_exclude: none(),
            outbound_ports_include: none(),
            outbound_ports_exclude: none(),
            reroute_virtual_interfaces: none(),
            redirect_dns: false,
            capture_all_dns: false,
            drop_invalid: false,
            dual_stack: false,
            network_namespace: none(),
            cni_mode: false,
            reconcile: false,
            cleanup_only: false,
            force_apply: false,
            skip_rule_apply: false,
            run_validation: false,
            iptables_probe_port: 15002,
            probe_timeout: Duration::from_secs(5),
            dry_run: false,
            native_nftables: false,
            force_iptables_binary: none(),
            owner_groups_include: "*".into(),
            owner_groups_exclude: none(),
            host_ipv4_loopback_cidr: "127.0.0.1/32".into(),
            envoy_user: "istio-proxy".into(),
        }
    }
}

/// The variables of `istio-iptables` that no flag stands for.
pub const VARIABLES_WITHOUT_FLAG: &[&str] = &[
    "ISTIO_OUTBOUND_OWNER_GROUPS",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "ENVOY_USER",
];

impl Settings {
    /// Default, then the flag's variable, then its second variable, then the flag: the last one given wins.
    ///
    /// A variable that does not parse is dropped, as Istio does, and a warning says so.
    ///
    /// # Errors
    /// A flag that does not parse.
    pub fn resolve<'a>(
        environment: &Environment,
        flags: impl IntoIterator<Item = (&'static Flag, &'a str)>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, BadValue> {
        let mut settings = Self::default();
        settings.take_variables(environment, warnings);
        settings.take_variables_without_flag(environment);
        settings.take_flags(flags)?;
        Ok(settings)
    }

    /// Sets what flags say.
    ///
    /// # Errors
    /// A flag that does not parse.
    pub fn take_flags<'a>(
        &mut self,
        flags: impl IntoIterator<Item = (&'static Flag, &'a str)>,
    ) -> Result<(), BadValue> {
        for (flag, value) in flags {
            flag.set(self, value).map_err(|why| {
                BadValue::new(&format!("--{}", flag.name), value, why, flag.kind().fix())
            })?;
        }
        Ok(())
    }

    /// Sets what the variables of flags say, in the order Istio registers them.
    fn take_variables(&mut self, environment: &Environment, warnings: &mut Vec<Warning>) {
        for flag in FLAGS {
            for name in flag.variables() {
                let Some(value) = environment.get(&name) else {
                    continue;
                };
                if let Err(why) = flag.set(self, value) {
                    let value = value.clone();
                    warnings.push(Warning::VariableIgnored {
                        name,
                        value,
                        why: why.to_owned(),
                    });
                }
            }
        }
    }

    /// Sets what has a variable and no flag. Under CNI these come from the container runtime's environment.
    pub fn take_variables_without_flag(&mut self, environment: &Environment) {
        let fields = [
            &mut self.owner_groups_include,
            &mut self.owner_groups_exclude,
            &mut self.host_ipv4_loopback_cidr,
            &mut self.envoy_user,
        ];
        for (name, field) in VARIABLES_WITHOUT_FLAG.iter().zip(fields) {
            if let Some(value) = environment.get(*name) {
                field.clone_from(value);
            }
        }
    }
}
