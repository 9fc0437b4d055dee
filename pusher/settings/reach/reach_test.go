// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"errors"
	"testing"
)

func TestGuards(t *testing.T) {
	for address, want := range map[string]struct{ cluster, public error }{
		"169.254.169.254:80":      {ErrOwn, ErrOwn},
		"[fe80::1%eth0]:80":       {ErrOwn, ErrOwn},
		"127.0.0.1:80":            {ErrOwn, ErrOwn},
		"127.9.9.9:80":            {ErrOwn, ErrOwn},
		"[::1]:80":                {ErrOwn, ErrOwn},
		"0.0.0.0:80":              {ErrOwn, ErrOwn},
		"[::]:80":                 {ErrOwn, ErrOwn},
		"[::ffff:127.0.0.1]:80":   {ErrOwn, ErrOwn},
		"[fd00:ec2::254]:80":      {ErrOwn, ErrOwn},
		"100.100.100.200:80":      {ErrOwn, ErrOwn},
		"168.63.129.16:80":        {ErrOwn, ErrOwn},
		"224.0.0.1:80":            {ErrOwn, ErrOwn},
		"255.255.255.255:80":      {ErrOwn, ErrOwn},
		"10.96.0.1:80":            {nil, ErrPrivate},
		"[::ffff:10.96.0.1]:80":   {nil, ErrPrivate},
		"172.16.0.1:80":           {nil, ErrPrivate},
		"192.168.1.1:443":         {nil, ErrPrivate},
		"100.64.0.1:443":          {nil, ErrPrivate},
		"0.1.2.3:443":             {nil, ErrPrivate},
		"198.18.0.1:443":          {nil, ErrPrivate},
		"240.0.0.1:443":           {nil, ErrPrivate},
		"[fd12::1]:80":            {nil, ErrPrivate},
		"[64:ff9b::a00:1]:443":    {nil, ErrPrivate},
		"[2002:a00:1::1]:443":     {nil, ErrPrivate},
		"8.8.8.8:443":             {nil, nil},
		"[2600:1901::1]:443":      {nil, nil},
		"[::ffff:93.184.1.1]:443": {nil, nil},
	} {
		if err := Cluster("tcp", address, nil); !errors.Is(err, want.cluster) {
			t.Errorf("%s in the cluster: %v", address, err)
		}
		if err := Public("tcp", address, nil); !errors.Is(err, want.public) {
			t.Errorf("%s in public: %v", address, err)
		}
	}
	for _, wrong := range []string{"", "localhost:80", "10.0.0.1"} {
		if Cluster("tcp", wrong, nil) == nil || Public("tcp", wrong, nil) == nil {
			t.Errorf("%q is let through", wrong)
		}
	}
}
