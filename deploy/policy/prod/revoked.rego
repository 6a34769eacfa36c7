# METADATA
# title: Who is refused, whatever else the policy grants
# description: |
#   From "revoked" of the data: ids (identity patterns), serials (of certificates) and
#   spki_sha256 (of public keys). Each is an object: the key is what is revoked, the
#   value a note for whoever reads the file. The peer never sees the note.
package sallyport.revoked

import data.sallyport.patterns

# METADATA
# title: Why the agent is revoked; empty where it is not
agent contains reason if {
	listed := data.revoked.ids
	some pattern in patterns.of(input.agent.id)
	listed[pattern]
	reason := by_id(input.agent.id, pattern)
}

agent contains reason if {
	data.revoked.serials[input.agent.serial]
	reason := sprintf(
		"certificate %s is revoked (revoked.serials of the policy's data): give the agent a new one",
		[input.agent.serial],
	)
}

agent contains reason if {
	data.revoked.spki_sha256[input.agent.spki_sha256]
	reason := sprintf(
		"key %s is revoked (revoked.spki_sha256 of the policy's data): give the agent a new one",
		[input.agent.spki_sha256],
	)
}

# METADATA
# title: Why the scraper is revoked; empty where it is not
scraper contains reason if {
	listed := data.revoked.ids
	some pattern in patterns.of(input.scraper.id)
	listed[pattern]
	reason := by_id(input.scraper.id, pattern)
}

by_id(id, pattern) := sprintf("%s is revoked (%q in revoked.ids of the policy's data)", [id, pattern])
