package daemon

import "strings"

// The two daemons' names.
const (
	Proxy = "sallyport-proxy"
	Agent = "sallyport-agent"
)

// variables are those that one of the daemons alone reads, without their prefix.
// They stand here because neither daemon links the other; a test of each compares
// its own.
var variables = map[string][]string{
	Proxy: strings.Fields(`
		AUDIT_LOG DISCOVERY_RETENTION DISCOVERY_WARMUP MAX_ROUTES_PER_SESSION MAX_SCRAPE_TIMEOUT MAX_SESSIONS
		MAX_SESSIONS_PER_IDENTITY POLICY POLICY_KEY_FILE SCRAPE_ADDR SCRAPE_CLIENT_AUTH
		SCRAPE_TLS_CA_FILE SCRAPE_TLS_CERT_FILE SCRAPE_TLS_KEY_FILE SCRAPE_URL TUNNEL_ADDR`),
	Agent: strings.Fields(`
		AGENT_NAME MAX_CONCURRENT_SCRAPES PROXY_ADDRS PROXY_ID TARGETS TARGETS_FILE`),
}

// others returns the variables that another daemon than the named one reads, each
// with words for that daemon.
func others(name string) map[string]string {
	found := make(map[string]string)
	for program, names := range variables {
		if program == name {
			continue
		}
		for _, variable := range names {
			found["SALLYPORT_"+variable] = "the " + strings.TrimPrefix(program, "sallyport-")
		}
	}
	return found
}
