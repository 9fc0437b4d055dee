// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package render describes the Kubernetes objects of one Pusher: its
// Deployment, ServiceAccount, Services and Secrets, as apply configurations.
//
// It is pure: no client, context, clock or environment, and equal input gives
// equal objects. It promises that nothing a Channel says changes anything but
// the settings Secrets, so that no edit of a Channel restarts a pod, and that
// every object names the Pusher as its controller. Fields that are not ours
// stay unset, for others to own.
//
// It must not know what is in the cluster, nor what is in the settings.
package render
