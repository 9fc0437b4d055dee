module github.com/klaxon-dev/klaxon/test/cluster/mod/nodetool

go 1.26.0
