package proxy_test

import (
	"testing/fstest"
)

// rules is a policy of these rules for registering and scraping; "" allows.
func rules(register, scrape string) fstest.MapFS {
	if register == "" {
		register = "allow := true"
	}
	if scrape == "" {
		scrape = `allow if input.scraper.segments[0] == "prometheus"`
	}
	return fstest.MapFS{
		"register.rego": {Data: []byte("package sallyport.register\n\n" + register + "\n")},
		"scrape.rego":   {Data: []byte("package sallyport.scrape\n\n" + scrape + "\n")},
	}
}

// with adds a file to a policy.
func with(policy fstest.MapFS, name, content string) fstest.MapFS {
	policy[name] = &fstest.MapFile{Data: []byte(content)}
	return policy
}

// anyRoute lets any agent register anything and /prometheus read it.
var anyRoute = rules("", "")
