use serde_json::json;

use super::*;

const NODE: &str = "192.168.65.3";
const POD: &str = "10.1.0.9";

fn service(object: &serde_json::Value) -> Option<Service> {
    Service::view(&serde_json::from_value(object.clone()).unwrap())
}

fn pod(object: &serde_json::Value) -> Option<Pod> {
    Pod::view(&serde_json::from_value(object.clone()).unwrap())
}

/// A Service of type `LoadBalancer` that was made at a minute, with these ports.
fn balanced(name: &str, minute: u32, ports: &[(Transport, u16, Option<u16>)]) -> (Name, Service) {
    let service = Service {
        uid: name.into(),
        created: Some(format!("2026-11-21T17:{minute:02}:00Z").parse().unwrap()),
        is_balanced: true,
        cluster_address: Some("10.96.0.7".parse().unwrap()),
        ports: ports
            .iter()
            .map(|(protocol, port, node_port)| ServicePort {
                protocol: protocol.clone(),
                port: *port,
                node_port: *node_port,
            })
            .collect(),
        ingress: Ingress::Localhost,
    };
    (Name::new("shop", name), service)
}

fn hosted(name: &str, minute: u32, ports: &[(u16, Option<&str>)]) -> (Name, Pod) {
    let pod = Pod {
        uid: name.into(),
        created: Some(format!("2026-11-21T17:{minute:02}:00Z").parse().unwrap()),
        node_address: Some(NODE.parse().unwrap()),
        address: Some(POD.parse().unwrap()),
        ports: ports
            .iter()
            .map(|(port, address)| HostPort {
                protocol: Transport::Tcp,
                port: *port,
                container_port: 80,
                address: address.map(|address| address.parse().unwrap()),
            })
            .collect(),
    };
    (Name::new("shop", name), pod)
}

fn compute(services: &[(Name, Service)], pods: &[(Name, Pod)]) -> Wanted {
    wanted(
        &services.iter().cloned().collect(),
        &pods.iter().cloned().collect(),
        Some(NODE.parse().unwrap()),
        &Owners::new(),
    )
}

/// Each port as `OWNER PROTOCOL/PORT TARGET`.
fn lines(wanted: &Wanted) -> Vec<String> {
    wanted
        .ports
        .iter()
        .map(|port| {
            let protocol = port.protocol().as_str_name();
            format!("{} {protocol}/{} {}:{}", port.owner, port.port, port.target_address, port.target_port)
        })
        .collect()
}

fn troubles(wanted: &Wanted) -> Vec<String> {
    wanted
        .troubles
        .iter()
        .map(|trouble| format!("{} {}: {}", trouble.subject.name.name, trouble.reason, trouble.message))
        .collect()
}

#[test]
fn every_kind_of_port_has_its_target() {
    let mut plain = balanced("plain", 3, &[(Transport::Tcp, 8080, Some(30080))]);
    plain.1.is_balanced = false;
    let services =
        [plain, balanced("web", 1, &[(Transport::Tcp, 80, Some(31000)), (Transport::Udp, 80, None)])];
    let pods = [hosted(
        "agent",
        2,
        &[(9100, None), (9101, Some("127.0.0.1")), (9102, Some("::1")), (9103, Some(NODE))],
    )];
    let wanted = compute(&services, &pods);
    assert_eq!(
        lines(&wanted),
        [
            "shop/web TCP/80 10.96.0.7:80",
            "shop/web UDP/80 10.96.0.7:80",
            "shop/agent TCP/9100 192.168.65.3:9100",
            "shop/agent TCP/9101 10.1.0.9:80",
            "shop/agent TCP/9102 10.1.0.9:80",
            "shop/agent TCP/9103 192.168.65.3:9103",
            "shop/web TCP/31000 192.168.65.3:31000",
            "shop/plain TCP/30080 192.168.65.3:30080",
        ]
    );
    assert_eq!(troubles(&wanted), [""; 0]);
    assert_eq!(wanted.owners.len(), wanted.ports.len());
    let owner = &wanted.owners[&(i32::from(Protocol::Tcp), 9100)];
    assert_eq!((owner.kind, owner.uid.as_str()), ("Pod", "agent"));
}

#[test]
fn who_was_first_has_the_port() {
    let port = |number| (Transport::Tcp, number, None);
    let services = [
        balanced("a-late", 9, &[port(80), port(81)]),
        balanced("b-early", 1, &[port(80)]),
        balanced("c-other", 2, &[(Transport::Udp, 80, None), (Transport::Tcp, 90, Some(81))]),
    ];
    let pods = [hosted("old", 0, &[(80, None), (82, None), (82, Some(NODE))])];
    let wanted = compute(&services, &pods);
    assert_eq!(
        lines(&wanted),
        [
            "shop/b-early TCP/80 10.96.0.7:80",
            "shop/c-other UDP/80 10.96.0.7:80",
            "shop/c-other TCP/90 10.96.0.7:90",
            "shop/a-late TCP/81 10.96.0.7:81",
            "shop/old TCP/82 192.168.65.3:82",
        ]
    );
    assert_eq!(
        troubles(&wanted),
        [
            "a-late PortTaken: port 80 (TCP) is taken by Service shop/b-early",
            "old PortTaken: port 80 (TCP) is taken by Service shop/b-early",
            "c-other PortTaken: port 81 (TCP) is taken by Service shop/a-late",
        ]
    );
}

#[test]
fn who_has_the_port_keeps_it_as_long_as_it_wants_it() {
    let services = |names: &[(&str, u32)]| -> BTreeMap<Name, Service> {
        let port = [(Transport::Tcp, 80, None)];
        names.iter().map(|(name, minute)| balanced(name, *minute, &port)).collect()
    };
    let step =
        |names: &[(&str, u32)], before: &Owners| wanted(&services(names), &BTreeMap::new(), None, before);
    let first = step(&[("late", 5)], &Owners::new());
    let both = step(&[("early", 1), ("late", 5)], &first.owners);
    assert_eq!(lines(&both), ["shop/late TCP/80 10.96.0.7:80"]);
    assert_eq!(troubles(&both), ["early PortTaken: port 80 (TCP) is taken by Service shop/late"]);
    let last = step(&[("early", 1)], &both.owners);
    assert_eq!((lines(&last), troubles(&last)), (vec!["shop/early TCP/80 10.96.0.7:80".to_owned()], vec![]));
    // Nothing is known of before: age decides.
    assert_eq!(
        lines(&step(&[("early", 1), ("late", 5)], &Owners::new())),
        ["shop/early TCP/80 10.96.0.7:80"]
    );
}

#[test]
fn a_hundred_ports_are_as_good_as_one_and_there_is_a_limit() {
    let ports = |count: u16| (1..=count).map(|port| (Transport::Tcp, port, None)).collect::<Vec<_>>();
    assert_eq!(compute(&[balanced("web", 1, &ports(100))], &[]).ports.len(), 100);
    let most = u16::try_from(MAX_PORTS).unwrap();
    let full = compute(&[balanced("web", 1, &ports(most))], &[]);
    assert_eq!((full.ports.len(), full.troubles.len()), (MAX_PORTS, 0));
    let over = compute(&[balanced("web", 1, &ports(most + 2))], &[]);
    assert_eq!((over.ports.len(), over.owners.len()), (MAX_PORTS, MAX_PORTS));
    assert_eq!(
        troubles(&over),
        [
            "web TooManyPorts: port 4097 (TCP) is one too many: 4096 are passed on",
            "web TooManyPorts: port 4098 (TCP) is one too many: 4096 are passed on",
        ]
    );
}

#[test]
fn what_cannot_be_passed_on_is_said_or_waits() {
    let mut without_network = hosted("new", 1, &[(9000, Some("127.0.0.1"))]);
    without_network.1.address = None;
    let sctp = balanced("sctp", 1, &[(Transport::Other("SCTP".into()), 7, None)]);
    let mut pending = balanced("pending", 2, &[(Transport::Tcp, 80, None)]);
    pending.1.cluster_address = None;
    let wanted = compute(&[sctp, pending], &[without_network]);
    assert_eq!(lines(&wanted), [""; 0]);
    assert_eq!(
        troubles(&wanted),
        ["sctp UnsupportedProtocol: port 7 (SCTP) is not passed on; TCP and UDP are"]
    );
}

#[test]
fn services_are_seen_as_they_are() {
    let object = |spec: serde_json::Value, status: serde_json::Value| {
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-21T17:00:00Z"},
            "spec": spec, "status": status})
    };
    let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}, {"port": 7, "protocol": "SCTP"}]);
    let balancer = json!({"type": "LoadBalancer", "clusterIP": "10.96.1.1", "ports": ports});
    let seen = service(&object(balancer.clone(), json!({}))).unwrap();
    let port = |protocol, port, node_port| ServicePort { protocol, port, node_port };
    assert_eq!(
        seen,
        Service {
            uid: "u".into(),
            created: Some("2026-11-21T17:00:00Z".parse().unwrap()),
            is_balanced: true,
            cluster_address: Some("10.96.1.1".parse().unwrap()),
            ports: vec![
                port(Transport::Tcp, 80, Some(30080)),
                port(Transport::Udp, 53, None),
                port(Transport::Other("SCTP".into()), 7, None),
            ],
            ingress: Ingress::None,
        }
    );
    let localhost = json!({"loadBalancer": {"ingress": [{"hostname": "localhost"}]}});
    let foreign = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    let with = |key: &str, value: serde_json::Value| {
        let mut spec = balancer.clone();
        spec[key] = value;
        spec
    };
    let node_port = with("type", json!("NodePort"));
    let cluster_ip = with("type", json!("ClusterIP"));
    let other_class = with("loadBalancerClass", json!("example.com/metal"));
    // What is expected: whether ports are seen, whether it is for us to serve, and what the status is to become.
    for (spec, status, expected) in [
        (&balancer, json!({}), Some((3, true, Some(Ingress::Localhost)))),
        (&balancer, localhost.clone(), Some((3, true, None))),
        (&balancer, foreign.clone(), Some((3, true, Some(Ingress::Localhost)))),
        (&node_port, json!({}), Some((3, false, None))),
        (&node_port, localhost.clone(), Some((3, false, Some(Ingress::None)))),
        (&node_port, foreign.clone(), Some((3, false, None))),
        (&cluster_ip, json!({}), None),
        (&cluster_ip, localhost, Some((0, false, Some(Ingress::None)))),
        (&other_class, json!({}), Some((3, false, None))),
        (&other_class, foreign, Some((3, false, None))),
        (&json!({"type": "ExternalName", "externalName": "example.com"}), json!({}), None),
        (&json!({}), json!({}), None),
    ] {
        let seen = service(&object(spec.clone(), status.clone()));
        let seen = seen.map(|service| (service.ports.len(), service.is_balanced, service.wanted_ingress()));
        assert_eq!(seen, expected, "{spec} {status}");
    }
}

#[test]
fn numbers_that_are_no_ports_are_passed_over() {
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 0}, {"port": 65536}, {"port": -1}, {"port": 65535, "nodePort": 0}]});
    let seen = service(&json!({"metadata": {"name": "web", "uid": "u"}, "spec": spec})).unwrap();
    assert_eq!(seen.ports, [ServicePort { protocol: Transport::Tcp, port: 65535, node_port: None }]);
    assert_eq!(seen.cluster_address, None);
}

#[test]
fn pods_are_seen_while_they_have_ports_of_the_node() {
    let object = |namespace: &str, spec: serde_json::Value, status: serde_json::Value| json!({"metadata": {"name": "p", "namespace": namespace, "uid": "u"}, "spec": spec, "status": status});
    let container = |ports: serde_json::Value| json!({"name": "c", "ports": ports});
    let open = json!([{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]);
    let spec = json!({"containers": [container(open.clone())]});
    let host_network = json!({"containers": [container(open.clone())], "hostNetwork": true});
    let sidecar = json!({"containers": [container(json!([]))], "initContainers": [
        {"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 5, "hostPort": 5}]},
        {"name": "i", "ports": [{"containerPort": 6, "hostPort": 6}]},
    ]});
    let addressed = json!({"containers": [container(json!([
        {"containerPort": 1, "hostPort": 1, "hostIP": "0.0.0.0"},
        {"containerPort": 2, "hostPort": 2, "hostIP": "127.0.0.1", "protocol": "UDP"},
    ]))]});
    let running = json!({"phase": "Running", "hostIP": NODE});
    let port = |protocol, port, address: Option<&str>| HostPort {
        protocol,
        port,
        container_port: if port == 8080 { 80 } else { port },
        address: address.map(|address| address.parse().unwrap()),
    };
    let plain = Some(vec![port(Transport::Tcp, 8080, None)]);
    for (namespace, spec, status, expected) in [
        ("shop", &spec, running.clone(), plain.clone()),
        ("shop", &spec, json!({"phase": "Pending", "hostIP": NODE}), plain.clone()),
        ("shop", &spec, json!({"phase": "Pending"}), None),
        ("shop", &spec, json!({"phase": "Succeeded", "hostIP": NODE}), None),
        ("shop", &spec, json!({"phase": "Failed", "hostIP": NODE}), None),
        ("shop", &host_network, running.clone(), plain.clone()),
        ("kube-system", &host_network, running.clone(), None),
        ("kube-system", &spec, running.clone(), plain),
        ("shop", &sidecar, running.clone(), Some(vec![port(Transport::Tcp, 5, None)])),
        (
            "shop",
            &addressed,
            running.clone(),
            Some(vec![port(Transport::Tcp, 1, None), port(Transport::Udp, 2, Some("127.0.0.1"))]),
        ),
        ("shop", &json!({"containers": [container(json!([{"containerPort": 1}]))]}), running, None),
    ] {
        let seen = pod(&object(namespace, spec.clone(), status.clone()));
        assert_eq!(seen.map(|pod| pod.ports), expected, "{namespace} {spec} {status}");
    }
}
