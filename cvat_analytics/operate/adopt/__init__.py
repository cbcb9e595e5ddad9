"""Take the place of CVAT's stock analytics (its own compose's ClickHouse, Vector and Grafana), with no event lost and none doubled.

`survey` looks at what is there and changes nothing, `carrying` brings the events, waits until CVAT sends here and sees to the end of the
old side, `hand_made` brings dashboards, `containers` knows CVAT's containers. There is no file of how far it is: both sides are asked.
"""
