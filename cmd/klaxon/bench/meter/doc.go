// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package meter reads what Linux knows about a process and the machine: CPU
// time, memory, and what the kernel itself holds. It only reads /proc and clocks,
// and needs no privilege.
package meter
