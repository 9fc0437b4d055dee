// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// forgeries are attacks by what only the server can have given.
var forgeries = []attack{
	{"forged and expired tokens", (*arena).forgeTokens},
	{"renewing by forged tokens", (*arena).renewByBadTokens},
	{"forged and replayed ids of sessions", (*arena).forgeIDs},
	{"forged and replayed resume tokens", (*arena).forgeResumes},
	{"forged and replayed private ids", (*arena).forgePIDs},
	{"more than a Channel takes", (*arena).overfill},
}

// forged are versions of something that the server has signed.
func forged(good string) []string {
	all := []string{"x", strings.Repeat("A", len(good)), good[:len(good)-1], good + "A", good[1:], strings.Repeat(good, 100), strings.ToLower(good), good + "\n"}
	for i := 0; i < len(good); i += max(1, len(good)/8) {
		b := []byte(good)
		if b[i]++; b[i] == 'Z'+1 || b[i] == 'z'+1 || b[i] == '9'+1 || b[i] == '-'+1 || b[i] == '_'+1 {
			b[i] = 'A'
		}
		all = append(all, string(b))
	}
	return all
}

// forgeIDs asks for sessions of Engine.IO that were never there, have ended, or are
// somebody else's.
func (a *arena) forgeIDs() {
	unknown := func(method, sid string) error {
		answer, err := a.answered(method, a.clients+pollPath+"&sid="+url.QueryEscape(sid), "", http.StatusBadRequest)
		if err == nil && !strings.Contains(answer, "\"code\":1,") {
			err = fmt.Errorf("%s is answered %s", sid, answer)
		}
		return err
	}
	a.all(4, func(int) error {
		return besiege(func() error {
			sid, err := a.polls()
			if err != nil {
				return err
			}
			for _, f := range forged(sid) {
				if err := errors.Join(unknown(http.MethodGet, f), unknown(http.MethodPost, f)); err != nil {
					return err
				}
				c, err := a.raw(a.clients)
				if err == nil {
					err = c.send(handshake("/socket.io/?EIO=4&transport=websocket&sid=" + url.QueryEscape(f)))
				}
				if err != nil {
					return err
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil || resp.StatusCode != http.StatusBadRequest {
					return fmt.Errorf("an upgrade of %s is answered %v (%w)", f, resp, err)
				}
				_ = c.Close()
			}
			// Who knows an id can only end the session: of two polls at a time the second is
			// refused, and both clients have none any more.
			first := make(chan struct{})
			go func() {
				defer close(first)
				_, _, _ = a.request(http.MethodGet, a.clients+pollPath+"&sid="+sid, "") // answered, or refused, if it came behind the other
			}()
			for second := 0; second != http.StatusBadRequest; {
				if second, _, err = a.request(http.MethodGet, a.clients+pollPath+"&sid="+sid, ""); err != nil {
					return err
				}
			}
			<-first
			return unknown(http.MethodGet, sid)
		})
	})
}

// welcomed is a welcome of a plain client.
type welcomed struct {
	Session, User, Offset, Resume string
	Rooms                         []string
	Recovered                     *bool
}

func (a *arena) welcomed(path string, lines ...string) (*raw, welcomed, error) {
	var w welcomed
	c, err := a.upgrade(path, lines...)
	if err != nil {
		return nil, w, err
	}
	msg, err := c.await("{\"type\":\"welcome\"")
	if err != nil {
		return nil, w, err
	}
	return c, w, json.Unmarshal([]byte(msg), &w)
}

// forgeResumes shows resume tokens that are not one's own.
func (a *arena) forgeResumes() {
	as := func(user string) string { return "Authorization: Bearer " + goodToken(user) }
	_, was, err := a.welcomed("/ws/guarded?room=secret", as("ann"))
	if err != nil || was.Resume == "" {
		a.Fatalf("welcomed by %+v (%v)", was, err)
	}
	back := func(channel, resume, user string, want bool) error {
		path := "/ws/" + channel + "?since=" + was.Offset + "&resume=" + url.QueryEscape(resume)
		var lines []string
		if user != "" {
			lines = append(lines, as(user))
		}
		c, now, err := a.welcomed(path, lines...)
		if err != nil {
			return err
		}
		defer c.Close()
		if now.Recovered == nil || *now.Recovered != want || (len(now.Rooms) > 0) != want || now.Session == was.Session || now.User != user {
			return fmt.Errorf("%s with the token %s is welcomed by %+v", user, resume, now)
		}
		return nil
	}
	a.all(4, func(int) error {
		return besiege(func() error {
			for _, f := range forged(was.Resume) {
				if err := back("guarded", f, "ann", false); err != nil {
					return err
				}
			}
			return errors.Join(
				back("guarded", was.Resume, "ann", true), // again and again: it grants nothing
				back("guarded", was.Resume, "bob", false),
				back("ticks", was.Resume, "", false),
			)
		})
	})
}

// recovered connects to the Channel with recovery by a private id.
func (a *arena) recovered(pid, offset string) (*raw, string, string, error) {
	c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
	if err == nil {
		err = c.send(text(fmt.Sprintf("40/recovery,{\"pid\":%q,\"offset\":%q,\"rooms\":[\"hall\"]}", pid, offset)))
	}
	if err != nil {
		return nil, "", "", err
	}
	answer, err := c.await("40/recovery,")
	if err != nil {
		return nil, "", "", err
	}
	var ids struct{ SID, PID string }
	return c, ids.SID, ids.PID, json.Unmarshal([]byte(strings.TrimPrefix(answer, "40/recovery,")), &ids)
}

// forgePIDs asks for others' sessions by private ids.
func (a *arena) forgePIDs() {
	c, sid, pid, err := a.recovered("", "")
	if err != nil {
		a.Fatal(err)
	}
	offset, err := c.await("42/recovery,[\"klaxon.offset\",\"")
	if err != nil {
		a.Fatal(err)
	}
	offset = strings.TrimSuffix(strings.TrimPrefix(offset, "42/recovery,[\"klaxon.offset\",\""), "\"]")
	if err := abort(c.Conn); err != nil {
		a.Fatal(err)
	}
	a.all(4, func(int) error {
		return besiege(func() error {
			for _, f := range append(forged(pid), sid) {
				c, now, _, err := a.recovered(f, offset)
				if err != nil {
					return err
				}
				_ = c.Close()
				if now == sid {
					return fmt.Errorf("the private id %s is as good as %s", f, pid)
				}
			}
			return nil
		})
	})
	// Replayed by many at once: there is one such session at any time.
	a.all(8, func(int) error {
		_, _, _, err := a.recovered(pid, offset)
		return err
	})
	listed, err := a.answered(http.MethodGet, a.events+"/v1/channels/recovery/sessions", "", http.StatusOK, "Authorization: Bearer "+publisherToken)
	if err != nil {
		a.Fatal(err)
	}
	if n := strings.Count(listed, "\""+sid+"\""); n != 1 {
		a.Errorf("%d sessions have the id %s", n, sid)
	}
}

// overfill connects more clients than a Channel takes.
func (a *arena) overfill() {
	var all []*raw
	for range 5 {
		c, err := a.join("/ws/tiny")
		if err != nil {
			a.Fatal(err)
		}
		all = append(all, c)
	}
	a.all(8, func(int) error {
		return besiege(func() error {
			c, err := a.upgrade("/ws/tiny")
			if err == nil {
				err = c.closed(1013)
			}
			if err == nil {
				_, err = a.answered(http.MethodGet, a.clients+"/sse/tiny", "", http.StatusOK) // and a time to come back
			}
			return err
		})
	})
	for _, c := range all {
		if err := c.send(text("{\"type\":\"ping\"}")); err != nil {
			a.Error(err)
		}
		if err := c.expect("{\"type\":\"pong\""); err != nil {
			a.Error(err)
		}
	}
}
