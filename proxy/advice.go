package proxy

// Advice says what a state or an outcome of a route means, whose it is to mend, and what
// to do about it. The dashboard shows it beside the route, and the README lists it.
type Advice struct {
	// Case is an outcome of scrapes, or one of the cases that stand below.
	Case Outcome
	// Whose it is: the target's, the agent's, the proxy's, the policy's or the scraper's.
	Whose string
	Means string
	// Do are steps, the likeliest first. {url} stands for the target's URL, quoted
	// for a shell, {path} for the route and {agent} for the agent's identity. curl has -g,
	// or brackets in a URL would be many URLs.
	Do []string
}

// Cases that are no outcome.
const (
	// AdviceGone is of a route whose agent is not connected.
	AdviceGone Outcome = "gone"
	// AdviceDenied is of an offer that the policy refuses, AdviceRefused of one that the
	// proxy itself does.
	AdviceDenied  Outcome = "offer_denied"
	AdviceRefused Outcome = "offer_refused"
	// AdviceScraper is of a scraper whom the policy refuses, AdviceAbsent of one that
	// asks for a path that nobody has registered.
	AdviceScraper Outcome = "scraper_denied"
	AdviceAbsent  Outcome = "path_absent"
	// AdviceMalformed is of one that asks for what can be no route's path.
	AdviceMalformed Outcome = "path_malformed"
	// AdviceSession is of an agent that gets no session.
	AdviceSession Outcome = "session_refused"
)

// Advices lists what is known of each case, for pages and for the documentation alike.
func Advices() []Advice {
	return []Advice{
		{TargetUnreachable, "target", "The agent got no connection to the target, or the target hung up before it answered.", []string{
			"On the agent's machine, try what the agent tries: curl -g -v {url}",
			"Connection refused: the target is not running, or listens on another port or address. No such host: the name does not resolve there. Timed out: something between the two drops packets.",
			"If the URL is wrong, mend it in SALLYPORT_TARGETS or the targets file; the file is taken up without a restart.",
		}},
		{TargetTimeout, "target", "The target was asked, and did not finish its answer in the time that the scrape had.", []string{
			"On the agent's machine, see how long it takes: curl -g -o /dev/null -w '%{time_total}\\n' {url}",
			"If the failure names a limit, that bound the scrape, and not Prometheus: raise the proxy's SALLYPORT_MAX_SCRAPE_TIMEOUT, or the policy's max_timeout_ms.",
			"If it names none, raise scrape_timeout of the job in Prometheus. Or have the target expose less.",
		}},
		{TargetRejected, "target", "The target answered, and the agent would not take it: its certificate is not good, it redirects, or what it sends is no metrics.", []string{
			"On the agent's machine, look at what it sends: curl -g -v {url}",
			"A redirect is never followed: give the agent the URL that it leads to.",
			"A certificate of a private authority needs tls.ca_file in the targets file.",
		}},
		{TargetStatus, "target", "The target answered with a status of its own that is not 200, and it was passed on as it came.", []string{
			"Ask it yourself, on the agent's machine: curl -g -i {url}",
			"401 or 403: the target wants a credential: authorization or basic_auth in the targets file. 404: the path of the URL is wrong. 5xx: the target's own log says why.",
		}},
		{TooLarge, "target", "The body is larger than a limit allows: SALLYPORT_MAX_RESPONSE_BYTES of the agent or of the proxy, or max_body_bytes of the policy.", []string{
			"On the agent's machine, see how large it is: curl -g -s {url} | wc -c",
			"Raise the limit that the failure names, or have the target expose less.",
		}},
		{Truncated, "target", "The scrape broke off after it had begun: the target or the tunnel failed in the middle, or the body outgrew its limit. Prometheus saw a broken connection, never half a scrape.", []string{
			"If it happens with each scrape, the target crashes while it answers, it is not done in time, or its body outgrows a limit, which the failure names. On the agent's machine: curl -g -s {url} | wc -c",
			"If it happens now and then, look for the agent's restarts: Agents shows since when it is connected.",
		}},
		{BadRequest, "scraper", "The scraper asks with a query parameter that the target's entry does not allow, or with a malformed request.", []string{
			"Name the parameter under params of the target's entry in the targets file, or take it out of the job's params in Prometheus.",
		}},
		{AgentGone, "agent", "The route's agent is not connected, or no longer has the route.", []string{
			"On the agent's machine: is sallyport-agent running? Its status page at http://127.0.0.1:8093/ says of each proxy why it is not connected; so does curl http://127.0.0.1:8093/-/ready. If its certificate has ended, it is to be renewed there.",
			"An agent that is there and cannot connect logs why, with a hint: its certificate has expired, the proxy's ID is not the one that it expects, the port is wrong.",
			"If the target was taken out of the agent's list for good, the route goes by itself after SALLYPORT_DISCOVERY_RETENTION.",
		}},
		{AdviceGone, "agent", "The agent that served this route is not connected. It stays listed, so that up == 0 fires.", []string{
			"On the agent's machine: is sallyport-agent running? Its status page at http://127.0.0.1:8093/ says of each proxy why it is not connected; so does curl http://127.0.0.1:8093/-/ready",
			"Refusals shows whether the proxy turned {agent} away, and which handshakes failed and why: a certificate that has expired, or one of another authority.",
			"If nothing is there of it, the agent may be the one that hangs up: its log says so where it refuses the proxy's certificate, because SALLYPORT_PROXY_ID names another proxy, the authority is not one that it trusts, or the certificate has ended.",
			"If it is gone for good, the route goes by itself after SALLYPORT_DISCOVERY_RETENTION.",
		}},
		{AgentTimeout, "agent", "The agent took the scrape and did not answer in time, not even that the target was late.", []string{
			"The agent's machine is overloaded, or the network between the two stalls: look at sallyport_agent_scrape_duration_seconds, and at the line.",
		}},
		{Busy, "agent", "No lane came for the scrape: there are more scrapes at once than the agent's lanes or the policy allow, or the agent does not answer and opens none.", []string{
			"If the failure says that the agent does not answer: is it stopped, or its machine or the network to it overloaded? If it stays so, the proxy ends its session within half a minute, and the route is gone.",
			"If it says that all lanes are in use, raise the agent's SALLYPORT_MAX_CONCURRENT_SCRAPES. Slow targets hold lanes: look for routes that take long.",
			"If it names max_inflight, that limit is the policy's.",
		}},
		{Draining, "proxy", "The proxy is stopping. Agents and scrapers go elsewhere until it is back.", []string{
			"Nothing, if it is being restarted. Otherwise its log says why it stops.",
		}},
		{NotFound, "policy", "While the scrape was under way the policy changed and took it away, or another agent took the route over.", []string{
			"Policy shows what is in force since when, and Refusals what it refuses.",
		}},
		{Cancelled, "scraper", "The scraper hung up before the answer was whole, or its certificate ended.", []string{
			"Prometheus hangs up when its own scrape_timeout is over: is the route slower than that?",
		}},
		{AdviceDenied, "policy", "The policy does not let this agent register this route. The agent offers it again within minutes, and at once when the policy changes.", []string{
			"The reasons below are the policy's own. Make the decision again on a copy of the policy, with --explain, and change it until it is right.",
			"If the agent should never have offered it, take it out of its targets.",
		}},
		{AdviceRefused, "agent", "The policy has nothing against it, but the proxy itself refuses the offer: another identity holds the route, there are too many of them, or the offer is malformed.", []string{
			"Another identity holds it: two agents are configured with one path. Give one of them another, or the same identity if they are replicas.",
			"Too many: SALLYPORT_MAX_ROUTES_PER_SESSION, or max_routes of the policy.",
		}},
		{AdviceSession, "agent", "An agent whose certificate is good got no session.", []string{
			"The reason says why: the policy refuses it, it has too many sessions, or its release speaks another protocol.",
		}},
		{AdviceScraper, "policy", "The policy does not let this scraper read this route. It is told 404, as if there were none.", []string{
			"If it should read it, make the decision again on a copy of the policy, with --explain, and change it until it is right.",
		}},
		{AdviceAbsent, "scraper", "A scraper asks for a path that no agent has registered.", []string{
			"Compare the path, letter by letter, with the routes: search for its last segment.",
			"If it is right, its agent has not offered it: look at the agent's targets, and at its status page.",
		}},
		{AdviceMalformed, "scraper", "A scraper asks for what can be no route's path. It is told 404, and no agent can offer such a route.", []string{
			"/metrics or / alone: the scrape job lacks metrics_path. Set it to the route; with http_sd_configs it comes by itself.",
			"A slash at the end, two in a row, a % or a space: the path is matched as it is sent, byte for byte, and nothing is tidied up. Write it as the route is registered.",
		}},
	}
}

// AdviceOn is the advice on a case; its zero has no case.
func AdviceOn(what Outcome) Advice {
	for _, advice := range Advices() {
		if advice.Case == what {
			return advice
		}
	}
	return Advice{}
}
