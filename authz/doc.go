// Package authz answers one question: may they? It compiles a folder of Rego
// into an immutable [Policy] and decides with it who may hold a session, register,
// scrape and administer. The proxy asks; nothing else imports it.
//
// It fails closed. Whatever is not a clear, well-formed yes is a denial: a rule
// that is absent or undefined, an answer of another type, a conflict, a builtin
// error, a deadline, a panic. Policies reach no network, clock, randomness or
// environment; the input documents, all of whose fields are always filled, are
// everything that they see. So a decision on a scrape can be kept for the next one
// that looks the same to the policy; what a policy can look at is taken from its
// compiled rules, and one that can see the time is asked every time.
//
// Policy authors are trusted for availability: an evaluation ends at its
// deadline, though up to some hundred milliseconds late, and its memory has no
// cap.
package authz
