package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
)

// client speaks to a running daemon.
type client struct {
	url, tokenFile *string
}

func clientFlags(c *kingpin.CmdClause) client {
	return client{
		url:       c.Flag("url", "Where callchain runs.").Envar("CALLCHAIN_URL").Default("http://localhost:9321").String(),
		tokenFile: c.Flag("token-file", "A file with a token of api.tokens.").Envar("CALLCHAIN_TOKEN_FILE").String(),
	}
}

func byFlag(c *kingpin.CmdClause) *string {
	by := os.Getenv("CALLCHAIN_BY")
	if by == "" {
		by = os.Getenv("USER")
	}
	return c.Flag("by", "Your handle in the catalog (default $CALLCHAIN_BY, else $USER).").Default(by).String()
}

// call makes one request and decodes the answer into out.
func (c client) call(ctx context.Context, method, path string, body, out any) error {
	base, err := url.Parse(*c.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return fmt.Errorf("--url %q: want an address like http://localhost:9321", *c.url)
	}
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		payload = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(*c.url, "/")+"/api/v1/"+path, payload)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("User-Agent", "callchain/"+versionNumber())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if *c.tokenFile != "" {
		token, err := config.NewSecretFile(*c.tokenFile).First()
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// A redirect would lose the body, and might be given the token.
	hc := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		return fmt.Errorf("%w\nIs callchain running there? Say where with --url or CALLCHAIN_URL", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, data, *c.tokenFile)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s answers, but not as callchain does; check --url", base.Host)
	}
	return nil
}

// refusal is a problem that the daemon answered, with the remedy on this side.
func refusal(resp *http.Response, data []byte, tokenFile string) error {
	var p struct{ Title, Detail, Code string }
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		return fmt.Errorf("answered HTTP %s; is there a callchain behind --url?", resp.Status)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized && tokenFile == "":
		return errors.New(p.Detail + "\nGive the file with the token by --token-file or CALLCHAIN_TOKEN_FILE")
	case p.Code == "not_in_chain":
		return status{bad, strings.TrimSuffix(p.Detail, `; send "take_over": true to take it over anyway`) + "\nTo take it over anyway: --take-over"}
	case p.Code == "acknowledged":
		return status{bad, strings.Replace(p.Detail, `say whom: "to"`, "--to", 1)}
	case p.Code == "at_night":
		return status{bad, strings.TrimSuffix(p.Detail, `; send "at_night": true if that is meant`) + "\nIf that is meant: --at-night"}
	case p.Code == "by_missing" || p.Code == "unknown_person" && strings.HasPrefix(p.Detail, "by: "):
		return errors.New(p.Detail + "\nSay who you are with --by or CALLCHAIN_BY")
	case resp.StatusCode == http.StatusConflict:
		return status{bad, p.Detail}
	}
	return errors.New(p.Detail)
}
