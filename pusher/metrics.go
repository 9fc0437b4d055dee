// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// metrics collects what loops and channels count, when somebody asks.
type metrics struct {
	// Static.
	server         *Server
	registry       *prometheus.Registry
	settingsErrors prometheus.Counter

	refusedRequests, refusedConnections *prometheus.CounterVec
}

var (
	connectionsDesc = desc("connections", "Client connections now, by channel.", "channel")
	openedDesc      = desc("connections_opened_total", "Client connections that were taken, by loop.", "loop")
	publishedDesc   = desc("events_published_total", "Events taken from publishers, duplicates not counted, by channel.", "channel")
	keptDesc        = desc("history_events", "Events that are kept for clients that come back, by channel.", "channel")
	keptBytesDesc   = desc("history_bytes", "Memory that kept events take, about, by channel.", "channel")
	resumesDesc     = desc("resumes_total", "Clients that wanted to go on from where they were, by result.", "result")
	replayedDesc    = desc("replayed_events_total", "Events sent to clients that had missed them.")
	brokerDesc      = desc("broker_up", "Whether the broker can be reached.")
	parkedDesc      = desc("sessions_parked", "Socket.IO sessions that are remembered for clients that may come back.")
	deliveriesDesc  = desc("deliveries_total", "Events written whole to a client.")
	droppedDesc     = desc("events_dropped_total", "Events not written to a client, by reason.", "reason")
	bytesDesc       = desc("client_bytes_total", "Bytes exchanged with clients, by direction.", "direction")
	closesDesc      = desc("closes_total", "Closing handshakes begun or answered, by close code.", "code")
	lagDesc         = desc("loop_lag_seconds", "Time since each loop last turned; an idle loop turns every second.", "loop")
	longestDesc     = desc("loop_longest_turn_seconds", "Longest turn of each loop since the last scrape.", "loop")
	latencyDesc     = desc("publish_to_write_seconds", "Time from an event's acceptance to its last write on a loop.")
	callsDesc       = desc("handler_calls_total", "Calls of handlers, by channel and result.", "channel", "result")
	callingDesc     = desc("handler_calls", "Calls of handlers now, by channel and whether they are under way or wait.", "channel", "state")
	refusedDesc     = desc("refused_total", "What clients were refused, by channel and reason.", "channel", "reason")
	memoryDesc      = desc("memory_used_ratio", "How much of the memory that the process may have is in use; 0: it has no limit.")
	shedDesc        = desc("clients_shed_total", "Clients that were closed because memory was short.")
	settingsDesc    = desc("settings_info", "The settings that are served, by revision.", "revision")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("klaxon_"+name, help, labels, nil)
}

func newMetrics(srv *Server) *metrics {
	m := &metrics{server: srv, registry: prometheus.NewRegistry()}
	m.settingsErrors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klaxon_settings_errors_total", Help: "Settings that were refused while earlier ones stayed.",
	})
	m.refusedRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klaxon_requests_refused_total", Help: "Requests on the events listener that were refused, by channel and the problem's code.",
	}, []string{"channel", "code"})
	m.refusedConnections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klaxon_connections_refused_total", Help: "Connections that were refused whichever channel they were for, by reason.",
	}, []string{"reason"})
	m.registry.MustRegister(m, m.settingsErrors, m.refusedRequests, m.refusedConnections, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Describe names the metrics.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connectionsDesc, openedDesc, publishedDesc, keptDesc, keptBytesDesc, resumesDesc, replayedDesc, brokerDesc, parkedDesc, deliveriesDesc, droppedDesc, bytesDesc,
		closesDesc, lagDesc, longestDesc, latencyDesc, settingsDesc, callsDesc, callingDesc, refusedDesc, memoryDesc, shedDesc,
	} {
		ch <- d
	}
}

// Collect reads the counters.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	snap := m.server.current.Load()
	gauge(settingsDesc, 1, snap.settings.Revision)
	for name, c := range snap.channels {
		gauge(connectionsDesc, float64(c.counters.connections.Load()), name)
		counter(publishedDesc, c.counters.published.Load(), name)
		for why, n := range reasonNames {
			counter(refusedDesc, c.counters.refused[why].Load(), name, n)
		}
		results, under, waiting := handlers.Sum(c.targets)
		for r, n := range results {
			counter(callsDesc, n, name, r.String())
		}
		if len(c.targets) > 0 {
			gauge(callingDesc, float64(under), name, "under_way")
			gauge(callingDesc, float64(waiting), name, "waiting")
		}
		if k, ok := m.server.broker.(keeper); ok {
			events, bytes := k.Kept(name)
			gauge(keptDesc, float64(events), name)
			gauge(keptBytesDesc, float64(bytes), name)
		}
	}
	var deliveries, dropped, in, out uint64
	for i, sh := range m.server.shards {
		st := sh.loop.Stats()
		deliveries += st.Deliveries()
		dropped += st.Dropped()
		in += st.BytesIn()
		out += st.BytesOut()
		counter(openedDesc, st.Opened(), strconv.Itoa(i))
		gauge(lagDesc, sh.loop.Lag().Seconds(), strconv.Itoa(i))
		gauge(longestDesc, st.LongestTurn().Seconds(), strconv.Itoa(i))
	}
	counter(resumesDesc, m.server.resumes.recovered.Load(), "recovered")
	counter(resumesDesc, m.server.resumes.lost.Load(), "lost")
	counter(replayedDesc, m.server.resumes.events.Load())
	reachable := 1.0
	if m.server.broker.Healthy() != nil {
		reachable = 0
	}
	gauge(brokerDesc, reachable)
	gauge(memoryDesc, float64(m.server.pressure.percent.Load())/100)
	counter(shedDesc, m.server.pressure.shed.Load())
	gauge(parkedDesc, float64(m.server.parked.len()))
	counter(deliveriesDesc, deliveries)
	counter(droppedDesc, dropped, "slow_client")
	counter(bytesDesc, in, "in")
	counter(bytesDesc, out, "out")
	m.collectCloses(counter)
	ch <- m.latency()
}

func (m *metrics) collectCloses(counter func(d *prometheus.Desc, v uint64, labels ...string)) {
	const other = wire.CloseCode(0)
	for _, code := range append([]wire.CloseInfo{{Code: other}}, wire.CloseTable...) {
		var n uint64
		for _, sh := range m.server.shards {
			n += sh.loop.Stats().Closes(code.Code)
		}
		label := "other"
		if code.Code != other {
			label = strconv.Itoa(int(code.Code))
		}
		counter(closesDesc, n, label)
	}
}

// latency joins the loops' histograms.
func (m *metrics) latency() prometheus.Metric {
	buckets := make(map[float64]uint64, len(loop.LatencyBounds))
	var total uint64
	var sum float64
	var counts [len(loop.LatencyBounds) + 1]uint64
	for _, sh := range m.server.shards {
		c, s := sh.loop.Stats().Latency().Read()
		sum += s
		for i := range c {
			counts[i] += c[i]
		}
	}
	for i, n := range counts {
		total += n
		if i < len(loop.LatencyBounds) {
			buckets[loop.LatencyBounds[i]] = total
		}
	}
	return prometheus.MustNewConstHistogram(latencyDesc, total, sum, buckets)
}
