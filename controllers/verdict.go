// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// verdict is a condition without its type, time and generation.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

// maxMessage is what a condition's message may hold, less a margin.
const maxMessage = 4 << 10

// set writes a verdict into a list of conditions.
func (v verdict) set(conditions *[]metav1.Condition, kind string, generation int64) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: v.status, Reason: v.reason, Message: clip(v.message, maxMessage), ObservedGeneration: generation,
	})
}

// sentence starts a message with a capital letter.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// clip shortens a message to at most n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

// transitions tells of changed conditions as Events.
type transitions struct{ recorder events.EventRecorder }

// maxNote is what an Event's note may hold.
const maxNote = 1024

// tell records one Event for each condition whose status or reason changed,
// except that something has begun to be looked at.
func (t transitions) tell(about client.Object, before, after []metav1.Condition) {
	for _, c := range after {
		old := meta.FindStatusCondition(before, c.Type)
		if old != nil && old.Status == c.Status && old.Reason == c.Reason {
			continue
		}
		if old == nil && c.Status != metav1.ConditionTrue && (c.Reason == v1alpha1.ReasonPending || c.Reason == v1alpha1.ReasonNotAccepted) {
			continue
		}
		t.recorder.Eventf(about, nil, eventType(c), eventReason(c), "Reconcile", "%s", clip(c.Type+": "+c.Message, maxNote))
	}
}

// eventReason names an Event: a reason that many conditions share, or that says
// nothing alone, is told with the condition's type.
func eventReason(c metav1.Condition) string {
	if c.Reason == v1alpha1.ReasonPending || c.Reason == v1alpha1.ReasonNotAccepted {
		return "Not" + c.Type
	}
	return c.Reason
}

func eventType(c metav1.Condition) string {
	switch {
	case c.Status == metav1.ConditionTrue, c.Reason == v1alpha1.ReasonPending, c.Reason == v1alpha1.ReasonPaused,
		c.Reason == v1alpha1.ReasonNotAccepted:
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}
