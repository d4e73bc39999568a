-- Where events and commands stand in a trace, as W3C Trace Context writes it. The code before it works with this schema:
-- it leaves the columns empty. Nothing is rewritten; the tables come in the order in which transactions touch them.

ALTER TABLE commands ADD COLUMN traceparent text;
ALTER TABLE events ADD COLUMN traceparent text;
