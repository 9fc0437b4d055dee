// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// accepting says to which pods the clients Service is to lead: to those that are not
// full, and to so many of those that are that at least half of the ready pods are left.
// The fullest leave, but who has left before another does not come back for it. A pod that
// cannot be asked stays as it is. By index.
func accepting(pods []podView) []bool {
	out := make([]bool, len(pods))
	var full []int
	mayLeave := 0 // twice as many
	for i, p := range pods {
		out[i] = p.accepting
		if !p.ready {
			continue
		}
		mayLeave++
		switch {
		case p.status != nil && p.status.Full:
			full = append(full, i)
		case p.status != nil:
			out[i] = true
		case !p.accepting:
			mayLeave -= 2
		}
	}
	stays := func(i int) int {
		if pods[i].accepting {
			return 1
		}
		return 0
	}
	slices.SortFunc(full, func(a, b int) int {
		return cmp.Or(stays(a)-stays(b), cmp.Compare(pods[b].status.MemoryPercent, pods[a].status.MemoryPercent))
	})
	for n, i := range full {
		out[i] = n >= mayLeave/2
	}
	return out
}

// direct has the clients Service lead to the pods that take newcomers.
func (r *rollouts) direct(ctx context.Context, in *gathered, views []podView) {
	for i, accepts := range accepting(views) {
		if accepts == views[i].accepting {
			continue
		}
		pod := &in.pods[i]
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"labels": map[string]string{v1alpha1.LabelAccepting: strconv.FormatBool(accepts)},
		}})
		if err == nil {
			err = r.client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			logf.FromContext(ctx).Error(err, "Cannot direct clients; the next round tries again", "pod", pod.Name, "accepting", accepts)
		}
	}
}
