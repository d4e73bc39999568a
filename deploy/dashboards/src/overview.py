from grafana import *

FAILED = 'error_type!=""'
WAITING = 'max(staffetta_stream_oldest_seconds{stream="WEBHOOKS"})'
OUTBOX = "max(staffetta_outbox_oldest_seconds)"
# Commands wait as long as their lane may: bulk for hours. A held channel stands in a list of its own.
COMMANDS = """
    (max(max by (namespace, tenant, channel) (staffetta_channel_oldest_seconds{lane!="bulk"})
    unless on (namespace, tenant, channel) staffetta:channel_held:max) or 0 * max(staffetta_dispatcher_parts))
"""
DELIVERY = "max(staffetta_delivery_oldest_seconds)"
ACK = quantile(0.99, "staffetta_ingress_ack_duration_seconds")

page = Page(
    "staffetta-overview",
    "Staffetta / Overview",
    "Is anything wrong, since when, and for whom? From left to right: the way of a webhook, then of a command, then of an event.",
    Row(
        "Is anything wrong?",
        lamp(
            "Ingress",
            "Webhooks are acknowledged: ok below 1 s for 99 of 100, late above, very late above 5 s. Without "
            "webhooks it is ok.",
            "ingress",
            f"((max({ACK}) >= 0) or 0 * max(staffetta_ingress_queue_limit_bytes))",
            1,
            5,
            dashboard="ingress",
            runbooks=["StaffettaAckSlow", "StaffettaComponentDown"],
        ),
        lamp(
            "Recorder",
            "Webhooks are recorded: ok while the oldest on WEBHOOKS is younger than a minute, very late from five "
            "minutes.",
            "recorder",
            WAITING,
            60,
            300,
            dashboard="recorder",
            runbooks=["StaffettaWebhooksWait", "StaffettaComponentDown"],
        ),
        lamp(
            "Outbox",
            "What is recorded is told on EVENTS: ok while the oldest event that is not is younger than a minute, "
            "very late from ten minutes.",
            "recorder",
            OUTBOX,
            60,
            600,
            dashboard="recorder",
            runbooks=["StaffettaOutboxWait"],
        ),
        lamp(
            "Dispatcher",
            "Commands are sent: ok while the oldest urgent or normal one of a channel that is not held is younger than "
            "15 minutes, very late from an hour.",
            "dispatcher",
            COMMANDS,
            900,
            3600,
            dashboard="dispatcher",
            runbooks=["StaffettaCommandsWait", "StaffettaComponentDown"],
        ),
        lamp(
            "Delivery",
            "Events are delivered: ok while the oldest that waits for any endpoint that is not disabled is younger than "
            "15 minutes, very late from an hour. One broken endpoint is enough: the list below names it.",
            "delivery",
            DELIVERY,
            900,
            3600,
            dashboard="delivery",
            runbooks=["StaffettaDeliveryStopped", "StaffettaEventsWait", "StaffettaEndpointBroken"],
        ),
        lamp(
            "API",
            "Tenants are answered: late above 1 % of requests that end with 500 or more, very late above 20 %.",
            "api",
            """((sum(rate(staffetta_tenant_requests_total{outcome="failed"}[5m])) / sum(rate(staffetta_tenant_requests_total[5m])) >= 0)
             or 0 * max(staffetta_api_event_streams))""",
            0.01,
            0.2,
            dashboard="tenant",
            runbooks=["StaffettaApiErrors"],
        ),
        table(
            "Since when: alerts that fire",
            "Nothing here is good. Click on an alert to open its runbook.",
            """ALERTS_FOR_STATE{alertname=~"Staffetta.+"} * 1000
              and ignoring (alertstate) ALERTS{alertname=~"Staffetta.+", alertstate="firing"}""",
            [
                Column("severity", "Severity", texts={"critical": RED, "warning": ORANGE}, width=90),
                Column("alertname", "Alert", link=RUNBOOK_LINK, width=260),
                Column("component", "Component", width=110),
                Column("tenant", "Tenant", link=link_to("tenant", tenant="tenant")),
                Column("channel", "Channel"),
                Column("endpoint_id", "Endpoint"),
                Column("stream", "Stream"),
                Column("reason", "Reason"),
                Column("instance", "Process"),
                Column("Value", "Since", unit="dateTimeFromNow", width=140),
            ],
            width=24,
            height=7,
            empty="nothing fires",
        ),
    ),
    Row(
        "How late, and how much",
        graph(
            "Age of the oldest item, by stage",
            "Seconds that the oldest item of each stage has waited. Good is a few seconds; a line that "
            "rises like a ramp says that its stage stands still. Bulk commands and those of held channels are left out.",
            Query(WAITING, "webhooks to be recorded"),
            Query(OUTBOX, "events to be told"),
            Query(COMMANDS, "commands to be sent"),
            Query(DELIVERY, "events to be delivered"),
            unit="s",
            low=0,
            marks=[(60, ORANGE), (300, RED)],
            runbooks=["StaffettaWebhooksWait", "StaffettaOutboxWait", "StaffettaCommandsWait", "StaffettaEventsWait"],
        ),
        graph(
            "Acknowledgement of webhooks",
            "From a webhook's last byte to its 200. Good is below 250 ms for half of them and below 1 s for 99 of "
            "100: that is what Meta asks for.",
            quantiles("staffetta_ingress_ack_duration_seconds"),
            unit="s",
            low=0,
            marks=[(1, ORANGE), (5, RED)],
            runbooks=["StaffettaAckSlow"],
        ),
        graph(
            "What goes through",
            "Items a second. Good is your own usual picture: compare it with the same hour of yesterday.",
            Query(
                per_second('staffetta_ingress_webhooks_total{outcome="stored"}') + " or vector(0)", "webhooks stored"
            ),
            Query(
                per_second('staffetta_dispatcher_sends_total{outcome="accepted"}') + " or vector(0)",
                "messages accepted by the provider",
            ),
            Query(
                per_second('staffetta_delivery_attempts_total{outcome=~"delivered|unsaid"}') + " or vector(0)",
                "events delivered",
            ),
            Query(per_second("staffetta_tenant_requests_total") + " or vector(0)", "API requests"),
            unit="ops",
            low=0,
            runbooks=["StaffettaNoWebhooks", "StaffettaSendingStopped"],
        ),
        graph(
            "What goes wrong",
            "Errors a second, by class. Good is next to nothing. Ours: 503 to webhooks, failures of NATS, the database and "
            "the API. The provider's and the tenants' stand beside them.",
            Query(
                per_second('staffetta_ingress_webhooks_total{outcome=~"no_secret|unavailable|slow|full|unstorable"}')
                + " or vector(0)",
                "webhooks answered 503",
            ),
            Query(
                per_second('staffetta_ingress_webhooks_total{outcome=~"unauthorized|unknown_app|too_large"}')
                + " or vector(0)",
                "webhooks refused",
            ),
            Query(
                per_second('staffetta_dispatcher_sends_total{outcome=~"transient|maintenance|not_sent|in_doubt"}')
                + " or vector(0)",
                "provider fails",
            ),
            Query(
                per_second(
                    'staffetta_dispatcher_sends_total{outcome=~"permanent|template|recipient|token|account|quota|throughput|pair"}'
                )
                + " or vector(0)",
                "provider refuses",
            ),
            Query(
                per_second('staffetta_delivery_attempts_total{outcome!~"delivered|unsaid|not_now"}') + " or vector(0)",
                "endpoints fail",
            ),
            Query(per_second('staffetta_tenant_requests_total{outcome="failed"}') + " or vector(0)", "API fails"),
            Query(
                f"sum({ours_rate('db_client_operation_duration_seconds_count', FAILED)}) or vector(0)", "database fails"
            ),
            Query(
                f"sum({ours_rate('messaging_client_operation_duration_seconds_count', FAILED)}) or vector(0)",
                "NATS fails",
            ),
            unit="ops",
            low=0,
            stacked="normal",
            fill=40,
            runbooks=[
                "StaffettaWebhooksUnavailable",
                "StaffettaSendErrors",
                "StaffettaDatabaseErrors",
                "StaffettaApiErrors",
            ],
        ),
    ),
    Row(
        "For whom?",
        table(
            "Channels that are held",
            "They send nothing until the cause is gone; their commands wait. Good is an empty list.",
            [
                "staffetta:channel_held:max",
                """sum by (tenant, channel) (staffetta_channel_waiting) and on (tenant, channel) staffetta:channel_held:max""",
                """max by (tenant, channel) (staffetta_channel_oldest_seconds) and on (tenant, channel) staffetta:channel_held:max""",
            ],
            [
                Column("tenant", "Tenant", link=link_to("tenant", tenant="tenant")),
                Column("channel", "Channel", link=link_to("dispatcher", tenant="tenant", channel="channel")),
                Column("reason", "Because of", texts={"token": RED, "account": RED, "quota": ORANGE}),
                Column("Value #B", "Commands waiting"),
                Column("Value #C", "Oldest", unit="s", steps=[(3600, RED)]),
            ],
            empty="none is held",
            runbooks=["StaffettaChannelHeld", "StaffettaManyChannelsHeld", "StaffettaQuotaHold"],
        ),
        table(
            "Channels with a backlog that send nothing",
            "Commands wait, the channel is not held, and nothing was asked of the provider for ten "
            "minutes. Good is an empty list.",
            """sum by (tenant, channel) (staffetta_channel_waiting) > 0
              unless on (tenant, channel) sum by (tenant, channel) (increase(staffetta_channel_sends_total[10m])) > 0
              unless on (tenant, channel) staffetta:channel_held:max""",
            [
                Column("tenant", "Tenant", link=link_to("tenant", tenant="tenant")),
                Column("channel", "Channel", link=link_to("dispatcher", tenant="tenant", channel="channel")),
                Column("Value", "Commands waiting", steps=[(1, RED)]),
            ],
            sort="Commands waiting",
            empty="every backlog moves",
            runbooks=["StaffettaChannelStuck", "StaffettaDoubtGrows"],
        ),
        table(
            "Endpoints that do not take their events",
            "Broken: one event at a time is tried. Disabled: nothing is, until somebody enables it. Good is an "
            "empty list, but for those that were switched off on purpose.",
            [
                'max by (tenant, endpoint_id, state) (staffetta_endpoint_state{state=~"broken|disabled"}) == 1',
                """max by (tenant, endpoint_id) (staffetta_endpoint_oldest_seconds)
               and on (tenant, endpoint_id) (staffetta_endpoint_state{state=~"broken|disabled"} == 1)""",
            ],
            [
                Column("tenant", "Tenant", link=link_to("tenant", tenant="tenant")),
                Column("endpoint_id", "Endpoint", link=link_to("delivery", tenant="tenant", endpoint_id="endpoint_id")),
                Column("state", "State", texts={"broken": ORANGE, "disabled": RED}),
                Column("Value #B", "Oldest event", unit="s", steps=[(259200, ORANGE), (518400, RED)]),
            ],
            empty="all take them",
            runbooks=["StaffettaEndpointBroken", "StaffettaEndpointDisabled", "StaffettaEventsNearLoss"],
        ),
        table(
            "Dead letters of the last hour",
            "What could not be processed, and why. Reasons of the dispatcher like `refused` or `invalid_command` are what "
            "tenants sent wrongly, and usual in small numbers; good is none of the others.",
            "staffetta:dead_letters:increase1h > 0",
            [
                Column("component", "From"),
                Column("reason", "Reason"),
                Column("Value", "Letters", unit="none", steps=[(1, ORANGE), (100, RED)]),
            ],
            sort="Letters",
            runbooks=["StaffettaDeadLetters", "StaffettaCommandsGivenUp"],
        ),
        bars(
            "Tenants that send most",
            "Messages a second that the provider took, the ten highest.",
            'topk(10, sum by (tenant) (rate(staffetta_channel_sends_total{outcome="accepted"}[5m])))',
            "{{tenant}}",
            unit="ops",
            low=0,
            runbooks=["StaffettaCommandsWait"],
        ),
        bars(
            "Tenants that receive most",
            "Messages a second from users, the ten highest.",
            "topk(10, sum by (tenant) (rate(staffetta_channel_received_total[5m])))",
            "{{tenant}}",
            unit="ops",
            low=0,
            runbooks=["StaffettaWebhooksWait"],
        ),
    ),
    Row(
        "What runs",
        table(
            "Processes",
            "Each component of each process, and its version. Two versions at a time are a rolling upgrade; good is one.",
            ["sum by (component, version) (staffetta_component_info)"],
            [Column("component", "Component"), Column("version", "Version"), Column("Value", "Processes", unit="none")],
            runbooks=["StaffettaComponentDown", "StaffettaRestarts"],
        ),
        table(
            "Not ready",
            "Checks of /readyz that fail now. Good is an empty list.",
            "staffetta_ready == 0",
            [Column("instance", "Process"), Column("check", "Check")],
            empty="all are ready",
            runbooks=["StaffettaNotReady"],
        ),
        table(
            "What ends soon",
            "Certificates, access tokens and API keys that end within 30 days.",
            """(min by (host) (staffetta_certificate_expiry_seconds) or min by (tenant, channel) (staffetta_channel_token_expiry_seconds)
              or min by (tenant, key) (staffetta_key_expiry_seconds)) < 2592000""",
            [
                Column("host", "Certificate of"),
                Column("tenant", "Tenant", link=link_to("tenant", tenant="tenant")),
                Column("channel", "Token of channel"),
                Column("key", "API key"),
                Column("Value", "Ends in", unit="s", steps=[(None, RED), (259200, ORANGE), (604800, GREEN)]),
            ],
            width=24,
            height=6,
            empty="nothing within 30 days",
            runbooks=["StaffettaCertificateExpires", "StaffettaTokenExpires", "StaffettaKeyExpires"],
        ),
    ),
    hours=6,
)
