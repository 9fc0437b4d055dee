// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/http"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// metrics reads the server's figures when somebody asks.
type metrics struct {
	// Static.
	node         *Node
	registry     *prometheus.Registry
	reloadErrors prometheus.Counter
}

var (
	infoDesc        = desc("info", "What runs, by version of Klaxon and of nats-server.", "version", "server_version")
	readyDesc       = desc("ready", "1 while a quorum is known and this node has caught up.")
	leaderDesc      = desc("meta_leader", "1 on the node that leads the cluster; their sum is 0 while nobody does.")
	peersDesc       = desc("peers", "Other nodes that this one is connected to.")
	clientsDesc     = desc("clients", "Clients connected now.")
	slowDesc        = desc("slow_clients_total", "Clients that were closed because they did not read.")
	messagesDesc    = desc("messages_total", "Messages exchanged with clients and nodes, by direction.", "direction")
	bytesDesc       = desc("bytes_total", "Bytes of messages exchanged with clients and nodes, by direction.", "direction")
	streamsDesc     = desc("streams", "Streams that this node has a replica of.")
	leadingDesc     = desc("streams_leading", "Streams that this node leads.")
	consumersDesc   = desc("consumers", "Consumers of those streams.")
	storedDesc      = desc("stored_messages", "Messages in this node's streams.")
	storedBytesDesc = desc("stored_bytes", "Bytes in this node's streams, by storage.", "storage")
	limitDesc       = desc("stored_bytes_limit", "Most bytes that streams may have, by storage.", "storage")
	behindDesc      = desc("followers_behind", "Replicas on other nodes that miss something of what this node leads.")
	lagDesc         = desc("raft_lag_entries", "Most entries that a follower of this node misses.")
	apiErrorsDesc   = desc("api_errors_total", "JetStream requests that were refused or failed.")
	certificateDesc = desc("certificate_expires_timestamp_seconds", "When the certificate that is served expires, in Unix time.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("klaxon_broker_"+name, help, labels, nil)
}

func newMetrics(n *Node) *metrics {
	m := &metrics{node: n, registry: prometheus.NewRegistry()}
	m.reloadErrors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klaxon_broker_reload_errors_total", Help: "Changed certificates or credentials that could not be used.",
	})
	m.registry.MustRegister(m, m.reloadErrors, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Describe names the metrics.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		infoDesc, readyDesc, leaderDesc, peersDesc, clientsDesc, slowDesc, messagesDesc, bytesDesc, streamsDesc, leadingDesc,
		consumersDesc, storedDesc, storedBytesDesc, limitDesc, behindDesc, lagDesc, apiErrorsDesc, certificateDesc,
	} {
		ch <- d
	}
}

// sample is a metric's value, before it is made one.
type sample func(d *prometheus.Desc, v float64, labels ...string)

// Collect asks the server.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	n := m.node
	of := func(kind prometheus.ValueType) sample {
		return func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
		}
	}
	gauge, counter := of(prometheus.GaugeValue), of(prometheus.CounterValue)
	gauge(infoDesc, 1, n.config.Version, server.VERSION)
	gauge(readyDesc, states[n.ready() == nil])
	if ends := n.secrets.Load().certificateEnds(); ends != nil {
		gauge(certificateDesc, float64(ends.Unix()))
	}
	if n.phase() == status.Starting {
		return
	}
	gauge(peersDesc, float64(n.server.NumRemotes()))
	gauge(clientsDesc, float64(n.server.NumClients()))
	counter(slowDesc, float64(n.server.NumSlowConsumersClients()))
	if v, err := n.server.Varz(nil); err == nil {
		counter(messagesDesc, float64(v.InMsgs), "in")
		counter(messagesDesc, float64(v.OutMsgs), "out")
		counter(bytesDesc, float64(v.InBytes), "in")
		counter(bytesDesc, float64(v.OutBytes), "out")
	}
	m.collectStreams(gauge, counter)
}

func (m *metrics) collectStreams(gauge, counter sample) {
	n := m.node
	js, err := n.jetStream()
	if err != nil || js.Disabled {
		return // while it stops
	}
	gauge(leaderDesc, states[n.metaLeader(js) == n.config.Name])
	gauge(streamsDesc, float64(js.Streams))
	gauge(leadingDesc, float64(n.leading(js)))
	gauge(consumersDesc, float64(js.Consumers))
	gauge(storedDesc, float64(js.Messages))
	gauge(storedBytesDesc, float64(js.Memory), "memory")
	gauge(limitDesc, float64(js.Config.MaxMemory), "memory")
	gauge(storedBytesDesc, float64(js.Store), "file")
	gauge(limitDesc, float64(js.Config.MaxStore), "file")
	counter(apiErrorsDesc, float64(js.API.Errors))
	var behind int
	var lag uint64
	followers := n.followers(js)
	for i := range followers {
		lag = max(lag, followers[i].Lag)
		if followers[i].behind() {
			behind++
		}
	}
	gauge(behindDesc, float64(behind))
	gauge(lagDesc, float64(lag))
}

// states are the values of metrics that say yes or no.
var states = map[bool]float64{true: 1}
