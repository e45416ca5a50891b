# Plain kubeadm in the box of an instance without Kubernetes: makes a cluster and waits until its seven pods are ready, then ends it.
# usage: plain.sh up|down BIN NODE-ADDRESS CRI-SOCKET CGROUP
set -eu
export PATH=$2:$PATH KUBECONFIG=/etc/kubernetes/admin.conf
node=$3 socket=$4 cgroup=$5

config() {
    cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $node}
nodeRegistration:
  name: docker-desktop
  criSocket: unix://$socket
  imagePullPolicy: IfNotPresent
  taints: []
  kubeletExtraArgs: [{name: node-ip, value: $node}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
networking: {podSubnet: 10.1.0.0/16, serviceSubnet: 10.96.0.0/12}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
failSwapOn: false
resolvConf: /etc/resolv.conf
volumePluginDir: /var/lib/kubelet/plugins
# As ours: how full this disk is does not matter here.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
# As ours: else P12c would show little but how long kube-proxy waits.
iptables: {minSyncPeriod: 100ms, syncPeriod: 30s}
YAML
}

case $1 in
up)
    echo "$node docker-desktop" >>/etc/hosts
    nft -f - <<NFT
table inet plain {
  chain forward {
    type filter hook forward priority filter
    ip daddr 10.96.0.0/12 meta l4proto tcp reject with tcp reset
    ip daddr 10.96.0.0/12 reject
  }
  chain output {
    type filter hook output priority filter
    ip daddr 10.96.0.0/12 meta l4proto tcp reject with tcp reset
    ip daddr 10.96.0.0/12 reject
  }
}
NFT
    mkdir -p /etc/kubernetes /var/lib/kubelet
    config >/etc/kubernetes/plain.yaml
    # What systemd does elsewhere.
    setsid sh -c 'until [ -e /var/lib/kubelet/config.yaml ] && [ -e /var/lib/kubelet/kubeadm-flags.env ]; do sleep 0.02; done
        . /var/lib/kubelet/kubeadm-flags.env
        exec kubelet --kubeconfig=/etc/kubernetes/kubelet.conf --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
            --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS' </dev/null >/var/log/plain-kubelet.log 2>&1 &
    kubeadm init --config /etc/kubernetes/plain.yaml --ignore-preflight-errors=all >/var/log/plain-kubeadm.log 2>&1
    until [ "$(kubectl get pods -n kube-system --no-headers 2>/dev/null | grep -c ' 1/1 ')" = 7 ]; do sleep 0.2; done
    ;;
down)
    pkill -x kubelet || true
    crictl --runtime-endpoint "unix://$socket" rmp --all --force >/dev/null 2>&1 || true
    awk '$2 ~ "^/var/lib/kubelet/" { print $2 }' /proc/self/mounts | sort -r | xargs -r umount
    rm -rf /etc/kubernetes /var/lib/kubelet /var/lib/etcd
    nft delete table inet plain
    ;;
esac
