// Package routing says which partition a key belongs to. The same key has the same one in every language, and in
// Tidegate itself.
package routing

import "hash/fnv"

// Partition is the partition of a key, from 0: FNV-1a, 32 bits, of its UTF-8, modulo the partitions. Zero partitions
// panic.
func Partition(key string, partitions uint32) uint32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(key)) // a hash takes everything
	return sum.Sum32() % partitions
}
