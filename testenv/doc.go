// Package testenv starts a whole Sallyport in one process, over real TLS on
// loopback, for the tests of every package: a CA, a proxy under a policy, agents,
// targets that behave and targets that do not, scrapers, and links between them
// that can be cut or frozen. Its folder workload holds a SPIFFE Workload API.
//
//	w := testenv.Start(t, testenv.Config{})
//	target := testenv.Metrics(t)
//	w.Agent("team-a/node", testenv.Route("/team-a/node/app", target.URL))
//	answer := w.Scraper("prometheus").Get("/team-a/node/app")
//
// Everything that a test starts ends with the test. Only tests import this
// package.
package testenv
