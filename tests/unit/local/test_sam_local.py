"""What `sam local` is told of the template."""

from __future__ import annotations

from infra.local.sam_local import adapted, unaliased


def test_a_function_is_named_by_itself_where_the_template_names_its_alias() -> None:
    auth = {"Authorizers": {"Callers": {"FunctionArn": {"Ref": "AuthorizerFunction.Alias"}, "Ttl": {"Ref": "Seconds"}}}}

    assert unaliased(auth) == {
        "Authorizers": {
            "Callers": {"FunctionArn": {"Fn::GetAtt": ["AuthorizerFunction", "Arn"]}, "Ttl": {"Ref": "Seconds"}}
        }
    }


def test_no_identity_is_left_that_sam_local_would_look_for_in_vain() -> None:
    identity = {"Headers": ["Authorization"], "Context": ["routeKey", "identity.sourceIp"]}
    auth = {"DefaultAuthorizer": "Callers", "Authorizers": {"Callers": {"Identity": identity}}}

    assert adapted(auth)["Authorizers"]["Callers"]["Identity"] == {
        "Headers": ["Authorization"],
        "Context": ["routeKey"],
    }
    assert identity["Context"] == ["routeKey", "identity.sourceIp"], "the template's own is left alone"
