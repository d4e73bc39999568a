-- Where events and commands stand in a trace, as W3C Trace Context writes it. The code before it works with this schema:
-- it leaves the columns empty.

ALTER TABLE commands ADD COLUMN traceparent TEXT;
ALTER TABLE events ADD COLUMN traceparent TEXT;
