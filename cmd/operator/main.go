// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command operator runs Klaxon's controllers: it makes what Channels and
// Pushers ask for true in the cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers"
)

// version is set by the linker.
var version = "dev"

// The API server's own priority and fairness protect it; these bounds only keep
// one burst, such as a thousand Channels' first statuses, from being endless.
const (
	clientQPS   = 100
	clientBurst = 200
)

// flags are the command line.
type flags struct {
	controllers    controllers.Options
	namespaces     string
	privateHosts   string
	leaderElection bool
	lease          string
	metricsAddr    string
	healthAddr     string
	logLevel       slog.Level
	logFormat      string
	version        bool
}

func main() {
	f, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil && f.version {
		fmt.Println(version)
		return
	}
	if err == nil {
		err = run(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("operator", flag.ContinueOnError)
	set.StringVar(&f.controllers.Image, "image", "", "image of the push server (required)")
	set.DurationVar(&f.controllers.StatusInterval, "status-interval", 10*time.Second, "how often pods that are up to date are asked for their status")
	set.StringVar(&f.namespaces, "watch-namespaces", "", "comma-separated namespaces to watch; empty: all")
	set.StringVar(&f.privateHosts, "jwks-private-hosts", "", "comma-separated hosts, or *.SUFFIX, of Channels' jwksURLs that may have private addresses")
	set.BoolVar(&f.leaderElection, "leader-elect", false, "act only while holding the lease, so that several replicas can run")
	set.StringVar(&f.lease, "leader-elect-lease", "klaxon-operator", "name of the lease, one for each operator of a namespace")
	set.StringVar(&f.metricsAddr, "metrics-addr", ":8080", "address of /metrics; 0: none")
	set.StringVar(&f.healthAddr, "health-addr", ":8081", "address of /healthz and /readyz; 0: none")
	set.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	set.StringVar(&f.logFormat, "log-format", "json", "json or text")
	set.BoolVar(&f.version, "version", false, "print the version and end")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	f.controllers.Namespaces = list(f.namespaces)
	f.controllers.JWKS.PrivateHosts = list(f.privateHosts)
	switch {
	case f.version:
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q (see --help)", set.Arg(0))
	case f.controllers.Image == "":
		return nil, fmt.Errorf("--image is required: the image that push servers run from")
	case f.controllers.StatusInterval < time.Second:
		return nil, fmt.Errorf("--status-interval must be at least 1s")
	case f.logFormat != "json" && f.logFormat != "text":
		return nil, fmt.Errorf("--log-format is json or text")
	}
	return f, nil
}

// list splits what is divided by commas.
func list(s string) (out []string) {
	for one := range strings.SplitSeq(s, ",") {
		if one = strings.TrimSpace(one); one != "" {
			out = append(out, one)
		}
	}
	return out
}

func run(f *flags) error {
	log := logger(f)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return fmt.Errorf("build scheme: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("build scheme: %w", err)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find a cluster: %w", err)
	}
	config.QPS, config.Burst = clientQPS, clientBurst
	config.UserAgent = "klaxon-operator/" + version
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        log,
		Cache:                         controllers.CacheOptions(f.controllers.Namespaces),
		Metrics:                       metricsserver.Options{BindAddress: f.metricsAddr},
		HealthProbeBindAddress:        f.healthAddr,
		LeaderElection:                f.leaderElection,
		LeaderElectionID:              f.lease,
		LeaderElectionReleaseOnCancel: true, // the process ends right after
	})
	if err != nil {
		return fmt.Errorf("make manager: %w", err)
	}
	f.controllers.JWKS.Log = slog.New(logr.ToSlogHandler(log.WithName("jwks")))
	f.controllers.Namespace = ownNamespace()
	ctx := ctrl.SetupSignalHandler()
	if err := controllers.Setup(ctx, mgr, f.controllers); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", cachesSynced(mgr)); err != nil {
		return fmt.Errorf("add readiness check: %w", err)
	}
	log.Info("Starting", "version", version, "image", f.controllers.Image, "namespaces", f.controllers.Namespaces)
	return mgr.Start(ctx)
}

// ownNamespace is where the operator's pod is; empty when it is not in a cluster.
func ownNamespace() string {
	b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// cachesSynced fails until the operator has read what it works on, which it
// cannot where it lacks the right to.
func cachesSynced(mgr ctrl.Manager) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches have not synced: the log says which and why")
		}
		return nil
	}
}

func logger(f *flags) logr.Logger {
	opts := &slog.HandlerOptions{Level: f.logLevel}
	var handler slog.Handler = slog.NewJSONHandler(os.Stderr, opts)
	if f.logFormat == "text" {
		handler = slog.NewTextHandler(os.Stderr, opts)
	}
	return logr.FromSlogHandler(handler)
}
