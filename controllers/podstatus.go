// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	statusTimeout = 2 * time.Second // of one question
	maxStatus     = 16 << 20        // bytes of one answer: tens of thousands of Channels
)

// StatusReader asks a pod what it serves.
type StatusReader interface {
	// PodStatus returns the status document of the pod at an IP address, to
	// whom token is the admin credential. Errors read the same for the same
	// cause, because they end up in conditions.
	PodStatus(ctx context.Context, ip, token string) (*settings.Status, error)
	// NodeStatus does so for a pod of a managed broker.
	NodeStatus(ctx context.Context, ip, token string) (*status.Node, error)
}

// ErrUnauthorized is a StatusReader's error when the pod knows another admin
// credential: it serves settings from before the credential changed.
var ErrUnauthorized = errors.New("/status answers 401 Unauthorized")

type httpStatus struct{ client *http.Client }

// NewStatusReader returns a StatusReader that asks pods over HTTP. It follows
// no proxy and no redirect: the credential goes to the pod and nowhere else.
func NewStatusReader() StatusReader {
	return &httpStatus{client: &http.Client{
		Timeout: statusTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: statusTimeout}).DialContext,
			MaxIdleConnsPerHost: 1,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (h *httpStatus) PodStatus(ctx context.Context, ip, token string) (*settings.Status, error) {
	s := &settings.Status{}
	return s, h.ask(ctx, net.JoinHostPort(ip, strconv.Itoa(render.AdminPort)), token, s)
}

func (h *httpStatus) NodeStatus(ctx context.Context, ip, token string) (*status.Node, error) {
	n := &status.Node{}
	return n, h.ask(ctx, net.JoinHostPort(ip, strconv.Itoa(render.BrokerHealthPort)), token, n)
}

// ask reads what /status at an address answers.
func (h *httpStatus) ask(ctx context.Context, address, token string, into any) error {
	target := url.URL{Scheme: "http", Host: address, Path: "/status"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := h.client.Do(req)
	if err != nil {
		return steady(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return ErrUnauthorized
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/status answers %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(into); err != nil {
		return fmt.Errorf("/status cannot be read: %w", steady(err))
	}
	return nil
}

// steady drops what differs between two errors of the same cause, such as the
// local port.
func steady(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
