# METADATA
# title: Which patterns cover a name
# description: |
#   A name is an identity (spiffe://example.org/team-a/node, node.example.org) or a path
#   (/team-a/node). A pattern is a whole name, or it ends in "/*" and covers all that is
#   below: "/a/*" covers /a/b and /a/b/c, but not /a, and "/*" covers every path.
#   Nothing here walks through the patterns of the data. It lists the few that can cover
#   one name, for the rules to look up: a decision costs the same with ten grants and
#   with ten thousand.
package sallyport.patterns

# METADATA
# title: All patterns that cover the name, the most specific first
# description: |
#   For "/a/b": "/a/b", "/a/*", "/*". A name is cut at slashes only, so that /a2 is never
#   below /a. Of an ID that gives "spiffe://*", too, which data.schema.json lets nobody write.
#   "%.*s" is as much of the name as the number before it says.
of(name) := array.concat([name], [pattern |
	some slash in array.reverse(indexof_n(name, "/"))
	pattern := sprintf("%.*s/*", [slash, name])
])
