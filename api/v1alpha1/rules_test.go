// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rules is a table of specs: each must be accepted (empty), or refused with a message.
type rules []struct{ spec, want string }

func (r rules) run(t *testing.T, kind string) {
	for i, tt := range r {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Logf("%.200s", tt.spec)
			check(t, api.Create(t.Context(), manifest(t, kind, "rule", tt.spec), client.DryRunAll), tt.want)
		})
	}
}

func TestChannelPlaces(t *testing.T) {
	rules{
		{"", ""},
		{"{}", ""},
		{"{pusherRef: {name: edge}}", ""},
		{"{pusher: {}}", ""},
		{"{pusher: {replicas: 1}, pusherRef: {name: edge}}", bothRule},
		{"{pusherRef: {name: ''}}", "spec.pusherRef.name"},
		{"{pusherRef: {}}", "spec.pusherRef.name: Required value"},
		{"{pusherRef: {name: Edge}}", "use lowercase letters, digits and '-'"},
		{"{pusherRef: {name: edge.eu}}", "use lowercase letters, digits and '-'"},
		{"{pusherRef: {name: " + long(40) + "}}", ""},
		{"{pusherRef: {name: " + long(41) + "}}", "Too long: may not be more than 40"},
		{"{pusher: {heartbeat: {interval: 1h}}}", intervalRule},
	}.run(t, "Channel")
}

func TestChannelClients(t *testing.T) {
	jwt := func(issuer, audiences, ref string) string {
		return fmt.Sprintf("{clients: {jwt: [{issuer: %s, audiences: %s, hmacSecretRef: %s}]}}", issuer, audiences, ref)
	}
	ref := "{name: s, key: k}"
	rules{
		{"{clients: {}}", ""},
		{"{clients: {anonymous: true}}", ""},
		{"{clients: {anonymous: maybe}}", "spec.clients.anonymous"},
		{jwt("https://id.example.com", "[shop]", ref), ""},
		{jwt("''", "[shop]", ref), "spec.clients.jwt[0].issuer"},
		{jwt(long(512), "[shop]", ref), ""},
		{jwt(long(513), "[shop]", ref), "Too long: may not be more than 512"},
		{jwt("x", "[]", ref), "spec.clients.jwt[0].audiences"},
		{jwt("x", "['']", ref), "spec.clients.jwt[0].audiences[0]"},
		{jwt("x", "["+long(257)+"]", ref), "Too long: may not be more than 256"},
		{jwt("x", times(16, "a"), ref), ""},
		{jwt("x", times(17, "a"), ref), "must have at most 16 items"},
		{jwt("x", "[shop]", "{name: s}"), "hmacSecretRef.key: Required value"},
		{jwt("x", "[shop]", "{key: k}"), "hmacSecretRef.name: Required value"},
		{jwt("x", "[shop]", "{name: '', key: k}"), "hmacSecretRef.name"},
		{jwt("x", "[shop]", "{name: s, key: ''}"), "hmacSecretRef.key"},
		{jwt("x", "[shop]", "{name: "+long(254)+", key: k}"), "Too long: may not be more than 253"},
		{jwt("x", "[shop]", "{name: s, key: "+long(254)+"}"), "Too long: may not be more than 253"},
		{"{clients: {jwt: [{issuer: x, audiences: [a]}]}}", keyRule},
		{"{clients: {jwt: [{issuer: x, audiences: [a], jwksSecretRef: " + ref + "}]}}", ""},
		{"{clients: {jwt: [{issuer: x, audiences: [a], jwksSecretRef: " + ref + ", hmacSecretRef: " + ref + "}]}}", keyRule},
		{"{clients: {jwt: [{audiences: [a], hmacSecretRef: " + ref + "}]}}", "issuer: Required value"},
		{"{clients: {jwt: [{issuer: x, hmacSecretRef: " + ref + "}]}}", "audiences: Required value"},
		{"{clients: {jwt: " + times(16, "{issuer: x, audiences: [a], hmacSecretRef: "+ref+"}") + "}}", ""},
		{"{clients: {jwt: " + times(17, "{issuer: x, audiences: [a], hmacSecretRef: "+ref+"}") + "}}", "must have at most 16 items"},
	}.run(t, "Channel")
}

func TestOrigins(t *testing.T) {
	var table rules
	for origin, want := range map[string]string{
		"*":                              "",
		"https://shop.example.com":       "",
		"http://localhost:3000":          "",
		"https://*.example.com":          "",
		"https://*.example.com:8443":     "",
		"https://xn--bcher-kva.example":  "",
		"https://10.0.0.1":               "",
		"":                               "spec.clients.allowedOrigins[0]",
		"shop.example.com":               originRule,
		"https://shop.example.com/":      originRule,
		"https://shop.example.com/path":  originRule,
		"https://Shop.example.com":       originRule,
		"https://":                       originRule,
		"https://*":                      originRule,
		"https://a.*.example.com":        originRule,
		"https://*example.com":           originRule,
		"https://shop.example.com:":      originRule,
		"https://shop.example.com:0":     originRule,
		"https://shop.example.com:99999": "",
		"https://user@shop.example.com":  originRule,
		"https://shop..example.com":      originRule,
		"https://-shop.example.com":      originRule,
		"https://shop_.example.com":      originRule,
		"wss://shop.example.com":         originRule,
		"null":                           originRule,
		"**":                             originRule,
		"https://" + long(254):           "",
		"https://" + long(255):           "Too long: may not be more than 262",
	} {
		table = append(table, struct{ spec, want string }{fmt.Sprintf("{clients: {allowedOrigins: [%q]}}", origin), want})
	}
	table.run(t, "Channel")
	rules{
		{"{clients: {allowedOrigins: " + times(64, "'*'") + "}}", ""},
		{"{clients: {allowedOrigins: " + times(65, "'*'") + "}}", "must have at most 64 items"},
	}.run(t, "Channel")
}

func TestPublishers(t *testing.T) {
	rules{
		{"{publishers: [{serviceAccount: {name: checkout}}]}", ""},
		{"{publishers: [{serviceAccount: {namespace: shop, name: checkout}}]}", ""},
		{"{publishers: [{tokenSecretRef: {name: s, key: k}}]}", ""},
		{"{publishers: []}", "spec.publishers"},
		{"{publishers: [{}]}", oneRule},
		{"{publishers: [{serviceAccount: {name: a}, tokenSecretRef: {name: s, key: k}}]}", oneRule},
		{"{publishers: [{anonymous: true}, {serviceAccount: {name: a}}]}", ""},
		{"{publishers: [{anonymous: false}]}", oneRule},
		{"{publishers: [{anonymous: false, serviceAccount: {name: a}}]}", ""},
		{"{publishers: [{anonymous: true, serviceAccount: {name: a}}]}", oneRule},
		{"{publishers: [{anonymous: true, tokenSecretRef: {name: s, key: k}}]}", oneRule},
		{"{publishers: [{serviceAccount: {}}]}", "serviceAccount.name: Required value"},
		{"{publishers: [{serviceAccount: {name: ''}}]}", "serviceAccount.name"},
		{"{publishers: [{serviceAccount: {name: a, namespace: ''}}]}", "serviceAccount.namespace"},
		{"{publishers: [{serviceAccount: {name: a, namespace: " + long(64) + "}}]}", "Too long: may not be more than 63"},
		{"{publishers: [{serviceAccount: {name: " + long(254) + "}}]}", "Too long: may not be more than 253"},
		{"{publishers: [{tokenSecretRef: {name: s}}]}", "tokenSecretRef.key: Required value"},
		{"{publishers: " + times(64, "{serviceAccount: {name: a}}") + "}", ""},
		{"{publishers: " + times(65, "{serviceAccount: {name: a}}") + "}", "must have at most 64 items"},
	}.run(t, "Channel")
}

func TestLimits(t *testing.T) {
	rules{
		{"{limits: {}}", ""},
		{"{limits: {eventBytes: 64}}", ""},
		{"{limits: {eventBytes: '64'}}", ""},
		{"{limits: {eventBytes: 63}}", eventRule},
		{"{limits: {eventBytes: 0}}", eventRule},
		{"{limits: {eventBytes: -64Ki}}", eventRule},
		{"{limits: {eventBytes: 1.5Ki}}", eventRule}, // isInteger() takes no fraction
		{"{limits: {eventBytes: 2Ki}}", ""},
		{"{limits: {eventBytes: 1.0001Ki}}", eventRule},
		{"{limits: {eventBytes: 128500m}}", eventRule},
		{"{limits: {eventBytes: 64KiB}}", "spec.limits.eventBytes"},
		{"{limits: {eventBytes: lots}}", "spec.limits.eventBytes"},
		{"{limits: {eventBytes: ''}}", "spec.limits.eventBytes"},
		{"{limits: {eventBytes: 1Mi}, slowClients: {bufferBytes: 1Mi}}", ""},
		{"{limits: {eventBytes: 1048577}, slowClients: {bufferBytes: 2Mi}}", eventRule},
		{"{limits: {eventBytes: 1Gi}}", eventRule},
		{"{limits: {eventBytes: '000000000000000000064'}}", "Too long: may not be more than 20"},
		{"{limits: {connections: 1}}", ""},
		{"{limits: {connections: 10000000}}", ""},
		{"{limits: {connections: 0}}", "should be greater than or equal to 1"},
		{"{limits: {connections: 10000001}}", "should be less than or equal to 10000000"},
		{"{limits: {connections: many}}", "spec.limits.connections"},
	}.run(t, "Channel")
}

func TestSlowClients(t *testing.T) {
	rules{
		{"{slowClients: {}}", ""},
		{"{slowClients: {policy: Disconnect}}", ""},
		{"{slowClients: {policy: DropOldest}}", ""},
		{"{slowClients: {policy: Block}}", "supported values: \"Disconnect\", \"DropOldest\""},
		{"{slowClients: {bufferBytes: 64Ki}}", ""},
		{"{slowClients: {bufferBytes: 64Mi}}", ""},
		{"{slowClients: {bufferBytes: 65Mi}}", bufferRule},
		{"{slowClients: {bufferBytes: 4095}, limits: {eventBytes: 64}}", bufferRule},
		{"{slowClients: {bufferBytes: 4096}, limits: {eventBytes: 64}}", ""},
		{"{slowClients: {bufferBytes: 100000500m}}", bufferRule},
		{"{slowClients: {bufferBytes: much}}", "spec.slowClients.bufferBytes"},
		// One event must fit, whichever of the two is left to its default.
		{"{slowClients: {bufferBytes: 65535}}", fitRule},
		{"{limits: {eventBytes: 256Ki}}", ""},
		{"{limits: {eventBytes: 257Ki}}", fitRule},
		{"{limits: {eventBytes: 100Ki}, slowClients: {bufferBytes: 99Ki}}", fitRule},
		{"{limits: {eventBytes: 100Ki}, slowClients: {bufferBytes: 100Ki}}", ""},
	}.run(t, "Channel")
}

func TestSocketIO(t *testing.T) {
	table := rules{
		{"{socketIO: {}}", ""},
		{"{socketIO: {recovery: true}}", ""},
		{"{socketIO: {recovery: maybe}}", "spec.socketIO.recovery"},
		{"{socketIO: {namespace: 7}}", "spec.socketIO.namespace"},
	}
	for namespace, want := range map[string]string{
		"/":               "",
		"/orders":         "",
		"/shop/Orders_v1": "",
		"/a.b:c-d":        "",
		"/" + long(127):   "",
		"/" + long(128):   "Too long: may not be more than 128",
		"":                "spec.socketIO.namespace",
		"orders":          ioRule,
		"//":              ioRule,
		"/orders/":        ioRule,
		"/shop//orders":   ioRule,
		"/a,b":            ioRule,
		"/a?b=c":          ioRule,
		"/a b":            ioRule,
		"/a\n":            ioRule,
		"/ä":              ioRule,
		"/a#b":            ioRule,
		"/*":              ioRule,
	} {
		table = append(table, struct{ spec, want string }{fmt.Sprintf("{socketIO: {namespace: %q}}", namespace), want})
	}
	table.run(t, "Channel")
}

func TestCloudEvents(t *testing.T) {
	rules{
		{"{cloudEvents: {}}", ""},
		{"{cloudEvents: {room: Subject}}", ""},
		{"{cloudEvents: {room: None}}", ""},
		{"{cloudEvents: {room: Source}}", "supported values: \"Subject\", \"None\""},
		{"{cloudEvents: {room: ''}}", "spec.cloudEvents.room"},
		{"{cloudEvents: true}", "spec.cloudEvents"},
	}.run(t, "Channel")
}

func TestChannelHistory(t *testing.T) {
	rules{
		{"{history: {}}", ""},
		{"{history: {size: 0}}", ""},
		{"{history: {size: 100000, ttl: 24h, bytes: 1Gi}}", ""},
		{"{history: {ttl: 1s, bytes: 1Mi}}", ""},
		{"{history: {size: -1}}", "spec.history.size"},
		{"{history: {size: 100001}}", "spec.history.size"},
		{"{history: {ttl: 999ms}}", historyTTLRule},
		{"{history: {ttl: 0s}}", historyTTLRule},
		{"{history: {ttl: 24h1s}}", historyTTLRule},
		{"{history: {ttl: 5 minutes}}", historyTTLRule},
		{"{history: {bytes: 1048575}}", historyBytesRule},
		{"{history: {bytes: 0}}", historyBytesRule},
		{"{history: {bytes: 2Gi}}", historyBytesRule},
	}.run(t, "Channel")
}

func TestCompression(t *testing.T) {
	rules{
		{"{compression: {}}", ""},
		{"{compression: {minBytes: 64}}", ""},
		{"{compression: {minBytes: '64'}}", ""},
		{"{compression: {minBytes: 2Ki}}", ""},
		{"{compression: {minBytes: 1Mi}}", ""},
		{"{compression: {minBytes: 63}}", compressRule},
		{"{compression: {minBytes: 0}}", compressRule},
		{"{compression: {minBytes: 1048577}}", compressRule},
		{"{compression: {minBytes: 100500m}}", compressRule},
		{"{compression: {minBytes: some}}", "spec.compression.minBytes"},
		{"{compression: {minBytes: '000000000000000000064'}}", "Too long: may not be more than 20"},
		{"{compression: true}", "spec.compression"},
	}.run(t, "Channel")
}

func TestPusherRules(t *testing.T) {
	rules{
		{"", ""},
		{"{replicas: 0}", ""},
		{"{replicas: 100}", ""},
		{"{replicas: -1}", "should be greater than or equal to 0"},
		{"{replicas: 101}", "should be less than or equal to 100"},
		{"{paused: true}", ""},
		{"{broker: {}}", brokerRule},
		{"{broker: {managed: {}, nats: {url: 'nats://nats:4222'}}}", brokerRule},
		{"{broker: {managed: {}}}", ""},
		{"{broker: {managed: {replicas: 2}}}", "supported values: \"1\", \"3\""},
		{"{broker: {managed: {storage: {size: 1Mi}}}}", "storage.size is a whole number of bytes from 64Mi to 4Ti"},
		{"{broker: {managed: {storage: {type: Memory, storageClassName: fast}}}}", "storage.storageClassName is for volumes"},
		{"{broker: {managed: {replicas: 1, storage: {size: 1Gi, storageClassName: fast}, resources: {limits: {memory: 1Gi}}, nodeSelector: {a: b}, tolerations: [{operator: Exists}], priorityClassName: high}}}", ""},
		{"{broker: {managed: {storage: {type: Memory}, resources: {limits: {memory: 285Mi}}}}}", ""},
		{"{broker: {managed: {storage: {type: Memory}, resources: {limits: {memory: 284Mi}}}}}", memoryRule},
		{"{broker: {managed: {storage: {type: Memory, size: 1Gi}, resources: {limits: {memory: 1Gi}}}}}", memoryRule},
		{"{broker: {managed: {storage: {type: Memory, size: 1Gi}, resources: {limits: {memory: 1.2Gi}}}}}", ""},
		{"{broker: {managed: {storage: {type: Memory, size: 1Gi}, resources: {limits: {cpu: 1}}}}}", ""},
		{"{broker: {managed: {storage: {size: 1Gi}, resources: {limits: {memory: 1Gi}}}}}", ""},
		{"{broker: {nats: {}}}", "spec.broker.nats.url: Required value"},
		{"{broker: {nats: {url: 'nats://nats:4222'}}}", ""},
		{"{broker: {nats: {url: 'tls://a.b:4222,nats://c'}}}", ""},
		{"{broker: {nats: {url: 'nats://user:password@nats:4222'}}}", natsRule},
		{"{broker: {nats: {url: 'nats://a, nats://b'}}}", natsRule},
		{"{broker: {nats: {url: 'http://nats'}}}", natsRule},
		{"{broker: {nats: {url: 'nats://nats', replicas: 2}}}", "supported values: \"1\", \"3\", \"5\""},
		{"{broker: {nats: {url: 'nats://nats', storage: Disk}}}", "supported values: \"File\", \"Memory\""},
		{"{broker: {nats: {url: 'nats://nats', replicas: 3, storage: Memory, credentialsSecretRef: {name: a}, caSecretRef: {name: b, key: c}, certificateSecretRef: {name: d}}}}", ""},
		{"{broker: {nats: {url: 'nats://nats', credentialsSecretRef: {}}}}", "credentialsSecretRef.name: Required value"},
		{"{networkPolicy: Restricted}", ""},
		{"{networkPolicy: None}", ""},
		{"{networkPolicy: Open}", "supported values: \"Restricted\", \"None\""},
		{"{metrics: {access: Open}}", ""},
		{"{metrics: {access: Credential}}", ""},
		{"{metrics: {access: Closed}}", "supported values: \"Credential\", \"Open\""},
		{"{heartbeat: {}}", ""},
		{"{heartbeat: {interval: 1s, timeout: 10m}}", ""},
		{"{heartbeat: {interval: 1500ms}}", ""},
		{"{heartbeat: {interval: 1.5s}}", ""},
		{"{heartbeat: {interval: 1m30s}}", ""},
		{"{heartbeat: {interval: 300ms, timeout: 200ms}}", ""},
		{"{heartbeat: {interval: 100ms, timeout: 0.1s}}", ""},
		{"{heartbeat: {interval: 99ms}}", intervalRule},
		{"{heartbeat: {interval: 10m1s}}", intervalRule},
		{"{heartbeat: {interval: '25'}}", intervalRule},
		{"{heartbeat: {interval: 25 s}}", intervalRule},
		{"{heartbeat: {interval: ''}}", intervalRule},
		{"{heartbeat: {interval: -25s}}", intervalRule},
		{"{heartbeat: {interval: 25}}", "spec.heartbeat.interval"},
		{"{heartbeat: {interval: 000000000000000000025s}}", "Too long: may not be more than 20"},
		{"{heartbeat: {timeout: 20s}}", ""},
		{"{heartbeat: {timeout: 0s}}", timeoutRule},
		{"{heartbeat: {timeout: 99ms}}", timeoutRule},
		{"{heartbeat: {timeout: 11m}}", timeoutRule},
		{"{heartbeat: {timeout: soon}}", timeoutRule},
		{"{drain: {}}", ""},
		{"{drain: {period: 0s}}", ""},
		{"{drain: {period: 1h, maxPeriod: 1h}}", ""},
		{"{drain: {period: 61m, maxPeriod: 1h}}", periodRule},
		{"{drain: {period: later}}", periodRule},
		{"{drain: {maxPeriod: 1h}}", ""},
		{"{drain: {maxPeriod: 61m}}", maxRule},
		{"{drain: {maxPeriod: 500ms}}", maxRule},
		{"{drain: {maxPeriod: never}}", maxRule},
		// The period must fit, whichever of the two is left to its default.
		{"{drain: {period: 11m}}", drainRule},
		{"{drain: {period: 10m}}", ""},
		{"{drain: {maxPeriod: 29s}}", drainRule},
		{"{drain: {period: 29s, maxPeriod: 29s}}", ""},
		{"{drain: {period: 2s, maxPeriod: 1s}}", drainRule},
	}.run(t, "Pusher")
}

func TestPodTemplateRules(t *testing.T) {
	in := func(s string) string { return "{podTemplate: {" + s + "}}" }
	rules{
		{in(""), ""},
		{in("labels: {team: shop, example.com/tier: web}"), ""},
		{in("labels: {push.klaxon.dev/pusher: other}"), labelRule},
		{in("labels: {app.kubernetes.io/name: other}"), labelRule},
		{in("labels: {team: " + long(64) + "}"), "Too long: may not be more than 63"},
		{in("labels: " + properties(32)), ""},
		{in("labels: " + properties(33)), "must have at most 32 items"},
		{in("annotations: {prometheus.io/scrape: 'true'}"), ""},
		{in("annotations: {push.klaxon.dev/nudge: now}"), annotRule},
		{in("annotations: {note: " + long(4097) + "}"), "Too long: may not be more than 4096"},
		{in("annotations: " + properties(33)), "must have at most 32 items"},
		{in("resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 2, memory: 1Gi}}"), ""},
		{in("resources: {claims: [{name: gpu}]}"), "push servers use no devices"},
		{in("resources: {requests: {cpu: fast}}"), "spec.podTemplate.resources.requests.cpu"},
		{in("nodeSelector: {pool: push}"), ""},
		{in("nodeSelector: " + properties(33)), "must have at most 32 items"},
		{in("nodeSelector: {pool: " + long(64) + "}"), "Too long: may not be more than 63"},
		{in("tolerations: " + times(32, "{operator: Exists}")), ""},
		{in("tolerations: " + times(33, "{operator: Exists}")), "must have at most 32 items"},
		{in("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}"), ""},
		{in("topologySpreadConstraints: " + times(16, "{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}")), ""},
		{in("topologySpreadConstraints: " + times(17, "{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}")), "must have at most 16 items"},
		{in("topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone}]"), "whenUnsatisfiable: Required value"},
		{in("imagePullSecrets: [{name: registry}]"), ""},
		{in("imagePullSecrets: " + times(17, "{name: registry}")), "must have at most 16 items"},
		{in("priorityClassName: high"), ""},
		{in("priorityClassName: ''"), "spec.podTemplate.priorityClassName"},
		{in("priorityClassName: " + long(254)), "Too long: may not be more than 253"},
	}.run(t, "Pusher")
}

func TestAuthorizationRules(t *testing.T) {
	in := func(s string) string { return "{clients: {rules: " + s + "}}" }
	const urlShape = "write jwksURL as https://HOST/PATH"
	url := func(s string) string { return "{clients: {jwt: [{issuer: i, audiences: [a], jwksURL: '" + s + "'}]}}" }
	issuer := func(s string) string {
		return "{clients: {jwt: [{issuer: i, audiences: [a], hmacSecretRef: {name: s, key: k}, " + s + "}]}}"
	}
	rules{
		{in("{connect: 'claims.a', join: 'room == user', emit: 'true'}"), ""},
		{in("{}"), ""},
		{in("{join: ''}"), "join"},
		{"{clients: {cookie: __Host-token}}", ""},
		{"{clients: {cookie: 'a b'}}", "a cookie's name has"},
		{"{clients: {cookie: token, allowedOrigins: ['https://a.example.com', '*']}}", "would let every page act as the user"},
		{"{clients: {cookie: token, allowedOrigins: ['https://a.example.com']}}", ""},
		{"{clients: {revoked: {users: [a, b], tokenIDs: [c]}}}", ""},
		{"{clients: {revoked: {users: [a, a]}}}", "Duplicate value"},
		{"{clients: {revoked: {tokenIDs: ['']}}}", "tokenIDs[0]"},
		{in("{join: '" + strings.Repeat("a", 2049) + "'}"), "Too long: may not be more than 2048"},
		{url("https://id.example.com/keys"), ""},
		{url("https://id.example.com:8443/a/b?c=d"), ""},
		{url("http://localhost:8080/keys"), ""},
		{url("http://127.0.0.1:8080/keys"), ""},
		{url("http://id.example.com/keys"), urlShape},
		{url("http://localhost.example.com/keys"), urlShape},
		{url("https://user@id.example.com/keys"), urlShape},
		{url("https://id.example.com/keys#a"), urlShape},
		{url("https:///keys"), urlShape},
		{url("keys"), urlShape},
		{issuer("jwksURL: 'https://id.example.com/'"), "set exactly one of jwksURL, jwksSecretRef and hmacSecretRef"},
		{issuer("clockSkew: 5m"), ""},
		{issuer("clockSkew: 1s"), ""},
		{issuer("clockSkew: 0s"), "clockSkew is a duration from 1s to 5m"},
		{issuer("clockSkew: 301s"), "clockSkew is a duration from 1s to 5m"},
	}.run(t, "Channel")
}

func TestPublisherRules(t *testing.T) {
	in := func(s string) string { return "{publishers: [{" + s + "}]}" }
	jwt := func(s string) string { return in("jwt: {issuer: i, audiences: [a], " + s + "}") }
	rules{
		{in("serviceAccount: {name: a}, events: ['order.*', ping], rooms: ['order:*']"), ""},
		{in("anonymous: true, events: [a]"), ""},
		{in("events: [a]"), "set exactly one of serviceAccount, tokenSecretRef, jwt and anonymous: true"},
		{in("serviceAccount: {name: a}, events: []"), "should have at least 1 items"},
		{in("serviceAccount: {name: a}, rooms: ['a*b']"), "a * stands at the end"},
		{in("serviceAccount: {name: a}, events: ['']"), "events[0]"},
		{jwt("jwksURL: 'https://a/', subjects: ['system:serviceaccount:shop:*']"), ""},
		{jwt("jwksURL: 'https://a/'"), "subjects"},
		{jwt("jwksURL: 'https://a/', subjects: []"), "should have at least 1 items"},
		{jwt("subjects: [a]"), "set exactly one of jwksURL, jwksSecretRef and hmacSecretRef"},
		{in("serviceAccount: {name: a}, jwt: {issuer: i, audiences: [a], jwksURL: 'https://a/', subjects: [b]}"), "set exactly one of serviceAccount"},
		{"{limits: {publishRate: 1}}", ""},
		{"{limits: {publishRate: 0}}", "publishRate"},
		{"{limits: {publishRate: 1000001}}", "publishRate"},
	}.run(t, "Channel")
}

func TestLimitRules(t *testing.T) {
	rules{
		{"{limits: {connectionsPerUser: 1, joinRate: 1}}", ""},
		{"{limits: {connectionsPerUser: 0}}", "connectionsPerUser"},
		{"{limits: {joinRate: 10001}}", "joinRate"},
		{"{limits: {totalEmitRate: 1, roomsPerSession: 100}}", ""},
		{"{limits: {totalEmitRate: 0}}", "totalEmitRate"},
		{"{limits: {roomsPerSession: 0}}", "roomsPerSession"},
		{"{limits: {roomsPerSession: 101}}", "roomsPerSession"},
	}.run(t, "Channel")
	rules{
		{"{limits: {acceptRate: 1, connectionsPerAddress: 1}, trustedProxies: [10.0.0.0/8, 'fd00::/8']}", ""},
		{"{limits: {acceptRate: 0}}", "acceptRate"},
		{"{limits: {memoryPercent: 20}}", ""},
		{"{limits: {memoryPercent: 95}}", ""},
		{"{limits: {memoryPercent: 19}}", "memoryPercent"},
		{"{limits: {memoryPercent: 96}}", "memoryPercent"},
		{"{limits: {connectionsPerAddress: 0}}", "connectionsPerAddress"},
		{"{trustedProxies: [10.0.0.1]}", "write a network as ADDRESS/BITS"},
		{"{trustedProxies: [proxy]}", "write a network as ADDRESS/BITS"},
	}.run(t, "Pusher")
}
