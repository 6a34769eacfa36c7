package proxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// offersAtOnce is how many offers of one agent are decided before it is another's
// turn.
const offersAtOnce = 64

// register answers an agent's offer, each route on its own. Where the stream ends
// meanwhile it stops, as Recv will.
func (t *tunnel) register(ctx context.Context, s *session, routes []*tunnelv1.Route) {
	answers := make([]*tunnelv1.RouteAnswer, 0, len(routes))
	for some := range slices.Chunk(routes, offersAtOnce) {
		if t.paces.wait(ctx, s.identity, len(some)) != nil {
			return
		}
		err := t.offers.at(ctx, func() error {
			answers = t.registerSome(ctx, s, some, answers)
			return ctx.Err()
		})
		if err != nil {
			return
		}
	}
	t.sayRegistered(s, answers)
}

// registerSome appends its answers.
func (t *tunnel) registerSome(ctx context.Context, s *session, routes []*tunnelv1.Route, answers []*tunnelv1.RouteAnswer) []*tunnelv1.RouteAnswer {
	subject := t.subject(s)
	for _, r := range routes {
		if ctx.Err() != nil {
			break
		}
		answer := t.registerOne(ctx, s, subject, r)
		// An offer replaces the claims of a route that the session holds: with
		// them refused it holds the route no more.
		if answer.GetCode() != tunnelv1.RouteAnswer_ACCEPTED && t.routes.withdraw(s, r.GetPath()) {
			t.tell(s, slog.LevelWarn, "route revoked: its new claims were refused", "route", r.GetPath())
		}
		t.metrics.registrations.WithLabelValues(registrationResult(answer.GetCode())).Inc()
		answers = append(answers, answer)
	}
	return answers
}

func (t *tunnel) sayRegistered(s *session, answers []*tunnelv1.RouteAnswer) {
	accepted := 0
	for _, answer := range answers {
		if answer.GetCode() == tunnelv1.RouteAnswer_ACCEPTED {
			accepted++
		}
	}
	t.tell(s, slog.LevelInfo, "routes registered", "accepted", accepted, "refused", len(answers)-accepted)
	message := &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{
		Registered: &tunnelv1.Registered{Answers: answers},
	}}
	if !fit(message, answers) {
		t.end(s, refuse(tunnelv1.Goodbye_PROTOCOL, "more routes in one message than one can answer"))
		return
	}
	s.post(message)
}

// fit drops reasons until the message may be sent: most of them first, and all if
// it must be, for the log has them too.
func fit(message *tunnelv1.ProxyMessage, answers []*tunnelv1.RouteAnswer) bool {
	for keep := 1; proto.Size(message) > maxMessage; keep-- {
		if keep < 0 {
			return false
		}
		for _, answer := range answers {
			answer.Reasons = answer.Reasons[:min(len(answer.Reasons), keep)]
		}
	}
	return true
}

func (t *tunnel) registerOne(ctx context.Context, s *session, subject *authz.Subject, claim *tunnelv1.Route) *tunnelv1.RouteAnswer {
	if err := checkRoute(claim); err != nil {
		path := claim.GetPath()
		if len(path) > tunnelv1.MaxPath {
			path = path[:tunnelv1.MaxPath]
		}
		t.tell(s, slog.LevelWarn, "registration refused", "route", path, "reason", err.Error())
		t.rejections.invalid(s, path, err)
		return &tunnelv1.RouteAnswer{Path: strings.ToValidUTF8(path, "?"), Code: tunnelv1.RouteAnswer_INVALID, Reasons: []string{err.Error()}}
	}
	for {
		event := t.decideRegister(ctx, s, subject, claim)
		decision := event.Decision
		var err error
		if decision.Allow {
			err = t.routes.register(newGrant(s, claim, decision), func() bool { return decision.Revision == t.policy.Revision() })
		} else {
			// An offer of what the session holds may claim something else now.
			t.routes.withdraw(s, claim.GetPath())
		}
		// A policy that came meanwhile has either seen the grant or is seen here.
		if !errors.Is(err, errStale) && decision.Revision == t.policy.Revision() {
			return t.answer(s, event, err)
		}
	}
}

// answer tells the agent, the audit log and the log what became of an offer.
func (t *tunnel) answer(s *session, event verdict, err error) *tunnelv1.RouteAnswer {
	path, d := event.Route, event.Decision
	answer := &tunnelv1.RouteAnswer{Path: path, DecisionId: d.ID}
	effect := authz.Registered
	switch {
	case !d.Allow:
		answer.Code, answer.Reasons = tunnelv1.RouteAnswer_DENIED, d.Reasons
		effect = authz.Denied
		if t.paces.mayLog(s.identity, true) {
			t.logDenied("registration", s, path, d)
		}
	case err == nil:
		answer.Code = tunnelv1.RouteAnswer_ACCEPTED
		t.log.Debug("route registered", "session", s.id, "agent", s.identity.String(), "route", path)
	default:
		answer.Code, answer.Reasons = tunnelv1.RouteAnswer_LIMIT, []string{err.Error()}
		effect = authz.Refused
		if errors.Is(err, errOwned) {
			answer.Code = tunnelv1.RouteAnswer_OWNED
		}
		event.why = err.Error()
		t.tell(s, slog.LevelWarn, "registration refused", "route", path, "reason", err.Error())
	}
	t.record(event, effect)
	return answer
}

// tell logs what an agent's offers came to, as often as its pace lets it.
func (t *tunnel) tell(s *session, level slog.Level, message string, more ...any) {
	ctx := context.Background()
	if t.log.Enabled(ctx, level) && t.paces.mayLog(s.identity, level >= slog.LevelWarn) {
		t.log.With("session", s.id, "agent", s.identity.String()).Log(ctx, level, message, more...)
	}
}

func (p *Proxy) logDenied(what string, s *session, path string, d authz.Decision) {
	log := p.log.With("session", s.id, "agent", s.identity.String(), "decision", d.ID)
	if path != "" {
		log = log.With("route", path)
	}
	if faulty(d) {
		log.Error("policy fault, "+what+" denied", "fault", d.Fault)
		return
	}
	log.Warn(what+" denied by policy", "reasons", d.Reasons)
}

// record puts a decision about an agent into the audit log, and a no into what the proxy
// remembers for people.
func (p *Proxy) record(event verdict, effect authz.Effect) {
	event.Effect = effect
	p.audit.Record(event.Event)
	p.rejections.note(event)
}

// event is a decision about an agent, made at a time that its input has too.
func (s *session) event(action string, at time.Time) verdict {
	return verdict{Event: authz.Event{
		Time: at, Action: action, Identity: s.input.ID, Serial: s.input.Serial, RemoteIP: s.remoteIP,
		TLSGroup: s.peer().GroupName(), TLSSuite: s.peer().SuiteName(), NotAfter: s.peer().NotAfter,
	}}
}

// provedInput is the agent as the handshake proved it, and the name that it claims;
// until when is the standing's to say.
func provedInput(s *session) authz.AgentInput {
	peer := s.peer()
	agent := authz.AgentOf(s.identity)
	agent.Name = s.agent
	agent.Serial = peer.Serial()
	agent.SPKISHA256 = peer.SPKISHA256()
	agent.RemoteIP = s.remoteIP
	agent.Source = peer.Source
	return agent
}

// subject is the session's agent, as the policy sees it now, for several decisions in a
// row.
func (p *Proxy) subject(s *session) *authz.Subject { return authz.NewSubject(s.agentInput(), p.self()) }

// decideRegister asks the policy with what the handshake proved and, marked as
// such in the input, what the agent claims.
func (p *Proxy) decideRegister(ctx context.Context, s *session, subject *authz.Subject, claim *tunnelv1.Route) verdict {
	event := s.event("register", time.Now())
	target := claim.GetTarget()
	route := authz.RouteClaim{
		Path: claim.GetPath(), Segments: tunnelv1.Segments(claim.GetPath()), Labels: claim.GetLabels(),
		Target: authz.TargetClaim{
			Scheme: target.GetScheme(), Host: target.GetHost(), Port: int(target.GetPort()), Path: target.GetPath(),
		},
	}
	input := subject.Register(route, p.routes.state(claim.GetPath(), s.identity), event.Time)
	event.Route, event.Digest = claim.GetPath(), input.Digest
	event.Decision = inTime(func() authz.Decision { return p.policy.Register(context.WithoutCancel(ctx), input) })
	p.metrics.decided("register", event.Decision)
	if !event.Decision.Allow {
		event.document = input.JSON
	}
	return event
}

// decideSession asks whether an identity may have a session at all.
func (p *Proxy) decideSession(ctx context.Context, s *session, subject *authz.Subject) verdict {
	event := s.event("session", time.Now())
	input := subject.Session(event.Time)
	event.Digest = input.Digest
	event.Decision = inTime(func() authz.Decision { return p.policy.Session(context.WithoutCancel(ctx), input) })
	p.metrics.decided("session", event.Decision)
	if !event.Decision.Allow {
		event.document = input.JSON
	}
	return event
}

func (t *tunnel) withdraw(s *session, paths []string) {
	var others []string
	for _, path := range paths {
		if t.routes.withdraw(s, path) {
			t.log.Debug("route withdrawn", "session", s.id, "agent", s.identity.String(), "route", path)
		} else {
			others = append(others, path)
		}
	}
	if withdrawn := len(paths) - len(others); withdrawn > 0 {
		t.tell(s, slog.LevelInfo, "routes withdrawn", "routes", withdrawn)
	}
	t.rejections.takeBack(s, others)
}

// checkRoute refuses what no policy should have to look at.
func checkRoute(r *tunnelv1.Route) error {
	if err := tunnelv1.CheckPath(r.GetPath()); err != nil {
		return err
	}
	if err := tunnelv1.CheckLabels(r.GetLabels()); err != nil {
		return err
	}
	return tunnelv1.CheckTarget(r.GetTarget())
}

// registrationResult is the metric's word for an answer.
func registrationResult(code tunnelv1.RouteAnswer_Code) string {
	switch code {
	case tunnelv1.RouteAnswer_ACCEPTED:
		return "accepted"
	case tunnelv1.RouteAnswer_DENIED:
		return "denied"
	case tunnelv1.RouteAnswer_OWNED:
		return "owned"
	case tunnelv1.RouteAnswer_INVALID:
		return "invalid"
	default:
		return "limit"
	}
}
