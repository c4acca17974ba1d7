// One lookup with Go's standard library: a token, a call to GitLab's API, and the lease given back.
// BROKER, SCANNER_KEY, ORGANIZATION and REPOSITORY are in the environment.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// A key or token goes where it was meant to go, and to no other host.
var client = &http.Client{
	Timeout:       60 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

type credential struct {
	LeaseID   string `json:"lease_id"`
	BaseURL   string `json:"base_url"`
	ExpiresAt string `json:"expires_at"`
	API       struct {
		Header string `json:"header"`
		Value  string `json:"value"`
	} `json:"api"`
}

type problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func ask(method, address, header, value string) (*http.Response, error) {
	request, err := http.NewRequest(method, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set(header, value)
	return client.Do(request)
}

func broker(method, path string) (*http.Response, error) {
	response, err := ask(method, os.Getenv("BROKER")+path, "Authorization", "Bearer "+strings.TrimSpace(os.Getenv("SCANNER_KEY")))
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		var why problem
		if err := json.NewDecoder(response.Body).Decode(&why); err != nil {
			return nil, fmt.Errorf("the broker answers %s", response.Status)
		}
		return nil, fmt.Errorf("no token: %s. %s", why.Code, why.Detail)
	}
	return response, nil
}

func run() error {
	query := url.Values{
		"url":          {os.Getenv("REPOSITORY")},
		"organization": {os.Getenv("ORGANIZATION")},
		"min_ttl":      {"1800"},
		"purpose":      {"example"},
	}
	response, err := broker("GET", "/v1/credentials?"+query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var got credential
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		return err
	}
	defer func() {
		if released, err := broker("DELETE", "/v1/leases/"+got.LeaseID); err == nil {
			released.Body.Close()
		}
	}()
	answer, err := ask("GET", got.BaseURL+"/api/v4/projects?membership=true&per_page=1", got.API.Header, got.API.Value)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GitLab answers %s", answer.Status)
	}
	if got.ExpiresAt == "" {
		got.ExpiresAt = "somebody ends it"
	}
	fmt.Printf("The token works until %s.\n", got.ExpiresAt)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
