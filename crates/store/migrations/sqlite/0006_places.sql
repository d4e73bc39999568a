-- Which EVENTS a place counts in: when that stream was made, in nanoseconds since 1970. Where NATS was lost, the next one
-- counts from 1 again, and a place in the one before says nothing about it. The code before it works with this schema: it
-- leaves the column as it is.

ALTER TABLE endpoints ADD COLUMN log_made_at INTEGER;
