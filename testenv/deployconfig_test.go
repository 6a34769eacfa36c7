package testenv_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

// place is where a daemon's variables stand.
type place struct {
	name, program string
	env           map[string]string
}

// The variables of every form of deployment are those that the daemons know, with
// values that they take: the daemons' own check says so, with the files that will be
// mounted replaced by some of this machine.
func TestDeployedConfigurationIsGood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own := map[string][]string{
		"sallyport-proxy": append(s.files("proxy", proxyLeaf), s.workloadAPI(proxyLeaf)...),
		"sallyport-agent": append(s.files("agent", agentLeaf), s.workloadAPI(agentLeaf)...),
	}
	places := append(composePlaces(t), kubernetesPlaces(t)...)
	places = append(places, systemdPlaces(t)...)
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			local := map[string]string{
				"SALLYPORT_POLICY":       deploy + "/policy/prod",
				"SALLYPORT_TARGETS_FILE": filepath.Join(deploy, p.env["targets file"]),
				"SALLYPORT_AUDIT_LOG":    "stderr",
			}
			for _, variable := range own[p.program] {
				name, value, _ := strings.Cut(variable, "=")
				local[name] = value
			}
			check := exec.Command(testenv.Build(t, p.program), "check")
			for name, value := range p.env {
				if replaced, ok := local[name]; ok {
					value = replaced
				}
				if name != "targets file" && name != "POD_NAME" {
					check.Env = append(check.Env, name+"="+strings.ReplaceAll(value, "$(POD_NAME)", "sallyport-0"))
				}
			}
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s check: %v\n%s", p.program, err, out)
			}
		})
	}
}

// composePlaces are the daemons of the form with files.
func composePlaces(t *testing.T) []place {
	t.Helper()
	type file struct {
		Services map[string]struct {
			Environment map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	var places []place
	for _, form := range []string{"files", "spire"} {
		for _, daemon := range []string{"proxy", "agent"} {
			env := map[string]string{}
			for _, name := range []string{"compose", form} {
				for key, value := range documents[file](t, fmt.Sprintf("%s/compose/%s.yaml", deploy, name))[0].Services[daemon].Environment {
					env[key] = value
				}
			}
			places = append(places, place{"compose " + form + " " + daemon, "sallyport-" + daemon, env})
		}
	}
	return places
}

// systemdPlaces are the units with their files of variables.
func systemdPlaces(t *testing.T) []place {
	t.Helper()
	var places []place
	for _, daemon := range []string{"proxy", "agent"} {
		env := map[string]string{"targets file": "systemd/targets.yaml"}
		unit := string(read(t, deploy+"/systemd/sallyport-"+daemon+".service"))
		text := string(read(t, deploy+"/systemd/"+daemon+".env"))
		for _, line := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(unit, -1) {
			text += "\n" + strings.ReplaceAll(line[1], " ", "\n")
		}
		for _, line := range strings.Split(text, "\n") {
			if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
				env[name] = value
			}
		}
		places = append(places, place{"systemd " + daemon, "sallyport-" + daemon, env})
	}
	return places
}
