package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// PreparedAlert is an alert to fire, or several at once.
type PreparedAlert struct {
	Name     string
	Title    string
	Watch    string            // one line on what to look at
	Webhooks []json.RawMessage // bodies of Alertmanager's webhook, version 4
}

// ReadAlerts reads prepared alerts: one webhook body a line, with a further key
// "demo" that holds name, title and watch. Lines of one name belong together.
func ReadAlerts(r io.Reader) ([]PreparedAlert, error) {
	var list []PreparedAlert
	place := map[string]int{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var body map[string]json.RawMessage
		var about struct{ Name, Title, Watch string }
		if err := json.Unmarshal(lines.Bytes(), &body); err != nil {
			return nil, fmt.Errorf("read prepared alerts: line %d: %w", n, err)
		}
		if err := json.Unmarshal(body["demo"], &about); err != nil || about.Name == "" || about.Title == "" {
			return nil, fmt.Errorf("read prepared alerts: line %d: want a key demo with name and title", n)
		}
		delete(body, "demo")
		webhook, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("read prepared alerts: line %d: %w", n, err)
		}
		i, seen := place[about.Name]
		if !seen {
			i = len(list)
			place[about.Name] = i
			list = append(list, PreparedAlert{Name: about.Name, Title: about.Title, Watch: about.Watch})
		}
		list[i].Webhooks = append(list[i].Webhooks, webhook)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read prepared alerts: %w", err)
	}
	return list, nil
}

// stamp gives a webhook its times: since when it fires and, unless until is
// zero, when it was resolved.
func stamp(webhook json.RawMessage, since, until time.Time) ([]byte, error) {
	var body map[string]any
	if err := json.Unmarshal(webhook, &body); err != nil {
		return nil, err
	}
	status := "firing"
	if !until.IsZero() {
		status = "resolved"
	}
	body["status"] = status
	alerts, _ := body["alerts"].([]any)
	for _, item := range alerts {
		alert, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("an alert is no object")
		}
		alert["status"] = status
		alert["startsAt"] = since.UTC().Format(time.RFC3339Nano)
		alert["endsAt"] = until.UTC().Format(time.RFC3339Nano) // the zero time is Alertmanager's "not over"
	}
	return json.Marshal(body)
}

// send fires or resolves a prepared alert and says how it went.
func (p *page) send(ctx context.Context, name string, resolve bool) (string, error) {
	i := p.find(name)
	if i < 0 {
		return "", errNoSuch
	}
	alert := p.cfg.Alerts[i]
	now := p.cfg.Now()

	p.mu.Lock()
	since, firing := p.firing[name]
	if !firing {
		since = now
	}
	p.mu.Unlock()
	var until time.Time
	if resolve {
		if !firing {
			return alert.Title + " is not firing.", nil
		}
		until = now
	}
	for _, webhook := range alert.Webhooks {
		body, err := stamp(webhook, since, until)
		if err != nil {
			return "", fmt.Errorf("prepare %s: %w", name, err)
		}
		if err := p.post(ctx, body); err != nil {
			return fmt.Sprintf("%s: callchain did not take it (%v).", alert.Title, err), nil
		}
	}
	p.mu.Lock()
	if resolve {
		delete(p.firing, name)
	} else {
		p.firing[name] = since
	}
	p.mu.Unlock()
	switch {
	case resolve:
		return alert.Title + ": resolved.", nil
	case firing:
		return alert.Title + ": sent again. A repeat changes nothing.", nil
	}
	return alert.Title + ": fired. " + alert.Watch, nil
}

func (p *page) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.FireURL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+p.cfg.Token)
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s", resp.Status)
	}
	return nil
}
